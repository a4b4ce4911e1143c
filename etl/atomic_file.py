"""Atomic file writes."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from etl import signals
from etl.errors import ConfigError, DiskFullError

_DISK_FULL_CODES: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def atomic_write(path: Path, option: str = "--out") -> Iterator[BinaryIO]:
    """Write a temporary file that replaces `path` at the end of the block; an error leaves `path` unchanged.

    The file keeps the mode of the file that it replaces; a new one may be read by its owner only. A killed process may
    leave the temporary file, `.billing-etl-….part`, in the same folder.

    Args:
        path: The target; symbolic links are followed.
        option: Command-line option that named the path, for error texts.

    Raises:
        ConfigError: The file cannot be written.
        DiskFullError: The disk is full, or a quota or file size limit is reached.
    """
    try:
        target = Path(os.path.realpath(path))
        mode = _existing_mode(target)
        temp_path = target.with_name(f".billing-etl-{secrets.token_hex(4)}.part")
        try:
            with open(temp_path, "xb", opener=_open_private) as file:
                if mode is not None:
                    temp_path.chmod(mode)
                yield file
                file.flush()
                os.fsync(file.fileno())
            signals.raise_if_interrupted()
            temp_path.replace(target)
        finally:
            temp_path.unlink(missing_ok=True)
    except OSError as error:
        error_type = DiskFullError if error.errno in _DISK_FULL_CODES else ConfigError
        raise error_type(
            f"{option} {str(path)!r} cannot be written: {error.strerror or type(error).__name__}"
        ) from None


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _existing_mode(target: Path) -> int | None:
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "the path exists and is not a regular file")
    return stat.S_IMODE(mode)
