"""A file that is there whole or not at all."""

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

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def atomic_write(path: Path, option: str = "--out") -> Iterator[BinaryIO]:
    """A file to write that takes its name at the end of the block; after an error, what had the name still has it.

    It has the mode of the file it replaces, else what the umask leaves. A killed process may leave its beginning beside
    it, as `.billing-etl-….part`.

    Args:
        path: A link is followed.
        option: What named it.

    Raises:
        ConfigError: It cannot be written there.
        DiskFullError: The disk is full, or a limit on files is reached.
    """
    try:
        target = Path(os.path.realpath(path))
        mode = _existing_mode(target)
        part = target.with_name(f".billing-etl-{secrets.token_hex(4)}.part")
        try:
            with part.open("xb") as file:
                if mode is not None:
                    part.chmod(mode)
                yield file
                file.flush()
                os.fsync(file.fileno())
            signals.raise_if_interrupted()
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        failure = DiskFullError if error.errno in _FULL else ConfigError
        raise failure(f"{option} {str(path)!r} cannot be written: {error.strerror or type(error).__name__}") from None


def _existing_mode(target: Path) -> int | None:
    try:
        found = target.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found):
        raise OSError(errno.EINVAL, "there is something of that name that is no file")
    return stat.S_IMODE(found)
