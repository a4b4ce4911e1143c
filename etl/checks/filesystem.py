"""Where files lie: on which file system, with how much room, and who may read and change them."""

from __future__ import annotations

import os
import re
import shutil
import stat
from glob import escape
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import Final

from etl.errors import CheckFailedError

NETWORK_FILESYSTEMS: Final = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "ncpfs", "9p", "vboxsf", "davfs", "davfs2"),
        *("ceph", "glusterfs", "lustre", "beegfs", "gpfs", "gfs2", "ocfs2", "orangefs"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.davfs"),
        *("fuse.smbnetfs", "fuse.juicefs", "fuse.vmhgfs-fuse"),
    }
)
"""File systems on which two machines, or two kernels, cannot share SQLite's memory; names as the kernel has them."""
MIN_FREE_MB: Final = 256
"""A night's journal and a spilled answer of the usual size; a first sync may take more."""
_OTHERS_READ, _OTHERS_WRITE = stat.S_IROTH, stat.S_IWOTH


def file_system_of(path: PurePosixPath, mounts: str) -> str:
    """The type of the file system a path lies on. Pure.

    Args:
        path: Absolute, without links.
        mounts: As `/proc/mounts`: device, mount point, type and more a line, blanks written in octal.

    Returns:
        An empty text where no line covers the path.
    """
    found, deepest = "", -1
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = PurePosixPath(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[1]))
        depth = len(point.parts)
        # Of two that are mounted on each other, the later one is seen.
        if depth >= deepest and path.is_relative_to(point):
            found, deepest = fields[2], depth
    return found


def require_local_filesystem(path: Path, mounts: str) -> str:
    """Make sure that an SQLite database lies where its locks and its write-ahead log work; the file system.

    Raises:
        CheckFailedError: It lies on a network file system.
    """
    kind = file_system_of(PurePosixPath(path.resolve()), mounts)
    if kind in NETWORK_FILESYSTEMS:
        raise CheckFailedError(
            f"{path} lies on {kind}, a network file system: SQLite's locks and write-ahead log do not work there; move "
            "it to a local disk, or take PostgreSQL or MariaDB"
        )
    return kind


def require_free_space(folder: Path, *, least_mb: int = MIN_FREE_MB) -> str:
    """Make sure that there is room left in a folder; how much.

    Raises:
        CheckFailedError: There is little, or no such folder.
    """
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise CheckFailedError(f"{folder} cannot be looked at ({error.strerror})") from None
    if free < least_mb * 1_000_000:
        raise CheckFailedError(f"{free / 1e6:,.0f} MB are left in {folder}; make room for at least {least_mb} MB")
    return f"{free / 1e9:,.1f} GB free in {folder}"


def require_writable(path: Path) -> str:
    """Make sure that SQLite can create a database, its journal and its locks, also where the path is a link.

    A file is made and removed again: permissions alone tell nothing of read-only mounts and quotas.

    Raises:
        CheckFailedError: No file can be made there.
    """
    folders = {path.parent.resolve(), path.resolve().parent}
    for folder in sorted(folders):
        try:
            with TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise CheckFailedError(
                f"no file can be written in {folder} ({error.strerror}); give it to the user of the nightly job: chown "
                "or chmod"
            ) from None
    return f"{' and '.join(map(str, sorted(folders)))} can be written"


def require_file_permissions(path: Path) -> str:
    """Make sure that this user may write a database and that not everybody may; its mode, and who may read it.

    Raises:
        CheckFailedError: The file, its folder, its journal or one of the locks beside it has another mode.
    """
    folder = path.resolve().parent
    beside = [Path(f"{path.resolve()}{suffix}") for suffix in ("-wal", "-shm")]
    locks = path.parent.glob(f"{escape(path.name)}-*.lock")
    for place in (path, folder, *filter(Path.exists, beside), *sorted(locks)):
        if not os.access(place, os.W_OK):
            raise CheckFailedError(
                f"this user may not write {place}; give it to the user of the nightly job: chown or chmod"
            )
    if os.name != "posix":
        return "this user may write it"
    of_file, of_folder = path.stat().st_mode, folder.stat().st_mode
    if of_file & _OTHERS_WRITE:
        raise CheckFailedError(f"everybody may change {path}; chmod o-rwx {path}")
    if of_folder & _OTHERS_WRITE and not of_folder & stat.S_ISVTX:
        raise CheckFailedError(f"everybody may replace files in {folder}; chmod o-w {folder}")
    words = f"{path} has mode {stat.S_IMODE(of_file):04o}"
    return f"{words}; everybody may read it: chmod 640 keeps phones from others" if of_file & _OTHERS_READ else words
