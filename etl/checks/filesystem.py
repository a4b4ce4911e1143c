"""Checks of files: file system, free disk space, permissions."""

from __future__ import annotations

import os
import re
import shutil
import stat
from glob import escape
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import Final

from etl.db.dialects.health import Caution
from etl.errors import CheckFailedError

NETWORK_FILESYSTEMS: Final = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "ncpfs", "9p", "vboxsf", "davfs", "davfs2"),
        *("ceph", "glusterfs", "lustre", "beegfs", "gpfs", "gfs2", "ocfs2", "orangefs"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.davfs"),
        *("fuse.smbnetfs", "fuse.juicefs", "fuse.vmhgfs-fuse"),
    }
)
"""File systems without the shared memory that SQLite's write-ahead log needs, by their names in `/proc/mounts`."""
MIN_FREE_MB: Final = 256
"""Enough for the journal of a night and a spooled answer of usual size; a first sync may need more."""
_OTHERS_READ, _OTHERS_WRITE = stat.S_IROTH, stat.S_IWOTH


def file_system_of(path: PurePosixPath, mounts: str) -> str:
    """Return the type of the file system of a path. Pure.

    Args:
        path: Absolute, without symbolic links.
        mounts: The content of `/proc/mounts`: per line device, mount point and type; blanks are octal escapes.

    Returns:
        The type; empty if no line covers the path.
    """
    kind, deepest = "", -1
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = PurePosixPath(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[1]))
        depth = len(point.parts)
        # A later mount on the same point hides the earlier one.
        if depth >= deepest and path.is_relative_to(point):
            kind, deepest = fields[2], depth
    return kind


def require_local_filesystem(path: Path, mounts: str) -> str:
    """Require that an SQLite database is on a local file system; return its type.

    Raises:
        CheckFailedError: It is on a network file system.
    """
    kind = file_system_of(PurePosixPath(path.resolve()), mounts)
    if kind in NETWORK_FILESYSTEMS:
        raise CheckFailedError(
            f"{path} is on {kind}, a network file system, where SQLite's locks and write-ahead log do not work; move "
            "it to a local disk, or use PostgreSQL or MariaDB"
        )
    return kind


def require_free_space(folder: Path, *, min_mb: int = MIN_FREE_MB) -> str:
    """Require free disk space in a folder; return how much there is.

    Raises:
        CheckFailedError: There is less than `min_mb`, or the folder cannot be read.
    """
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise CheckFailedError(f"{folder} cannot be read ({error.strerror})") from None
    if free < min_mb * 1_000_000:
        raise CheckFailedError(f"{free / 1e6:,.0f} MB are free in {folder}; free at least {min_mb} MB")
    return f"{free / 1e9:,.1f} GB free in {folder}"


def require_writable(path: Path) -> str:
    """Require that SQLite can create its files, also if the path is a symbolic link.

    A temporary file is created, because permissions do not show read-only mounts and quotas.

    Raises:
        CheckFailedError: No file can be created.
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
    """Require that this user may write a database and that other users may not; describe its mode.

    Returns:
        The mode; a Caution if all users may read the database or its write-ahead log.

    Raises:
        CheckFailedError: The file, its folder, its journal or a lock file has other permissions.
    """
    folder = path.resolve().parent
    journals = [Path(f"{path.resolve()}{suffix}") for suffix in ("-wal", "-shm")]
    locks = path.parent.glob(f"{escape(path.name)}-*.lock")
    for file in (path, folder, *filter(Path.exists, journals), *sorted(locks)):
        if not os.access(file, os.W_OK):
            raise CheckFailedError(
                f"this user may not write {file}; give it to the user of the nightly job: chown or chmod"
            )
    if os.name != "posix":
        return "this user may write it"
    file_mode, folder_mode = path.stat().st_mode, folder.stat().st_mode
    if file_mode & _OTHERS_WRITE:
        raise CheckFailedError(f"all users may change {path}; chmod o-rwx {path}")
    if folder_mode & _OTHERS_WRITE and not folder_mode & stat.S_ISVTX:
        raise CheckFailedError(f"all users may replace files in {folder}; chmod o-w {folder}")
    description = f"{path} has mode {stat.S_IMODE(file_mode):04o}"
    if readable := [str(file) for file in (path, *journals) if file.exists() and file.stat().st_mode & _OTHERS_READ]:
        return Caution(f"all users may read {', '.join(readable)}; run: chmod o-rwx {' '.join(readable)}")
    return description
