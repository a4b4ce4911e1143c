"""Standard streams that survive a closed reader, and report a full disk as a separate error."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, BinaryIO, Final, TextIO

from etl.errors import OutputError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDOUT: Final = 1
STDERR: Final = 2


class ReaderGoneError(Exception):
    """Stdout has no reader any more. Not an OSError, for which click would end the program with 1."""


class _Stream(io.RawIOBase):
    """A standard stream, by its file descriptor.

    Once its reader has closed the pipe, further output is discarded: a command ends as it would have ended, and with
    the same exit code. Another error of stdout is raised once; errors of stderr cannot be reported, and are ignored.

    Args:
        descriptor: STDOUT or STDERR.
        needs_reader: Raise ReaderGoneError once the pipe is closed.
    """

    def __init__(self, descriptor: int, *, needs_reader: bool = False) -> None:
        self._descriptor = descriptor
        self._needs_reader = needs_reader

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return os.write(self._descriptor, data)
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._descriptor)  # what is still in a buffer goes there
            is_gone, problem = isinstance(error, BrokenPipeError), error.strerror
        if is_gone and self._needs_reader:
            raise ReaderGoneError
        if is_gone or self._descriptor == STDERR:
            return memoryview(data).nbytes
        raise OutputError(f"stdout cannot be written ({problem})")


def protect_streams() -> None:
    """Replace stdout and stderr, and open those of the three standard streams that are closed.

    Otherwise the next file or connection that is opened would get the descriptor of a closed one, and output would be
    written into it. Characters that the locale cannot encode are escaped.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        pass
    os.close(descriptor)
    sys.stdout, sys.stderr = _open(STDOUT, sys.stdout), _open(STDERR, sys.stderr)


def binary_stdout() -> BinaryIO:
    """Stdout for a file of any length: writing to a closed pipe raises ReaderGoneError."""
    return io.BufferedWriter(_Stream(STDOUT, needs_reader=True))


def _open(descriptor: int, stream: TextIO | None) -> TextIO:
    """A text stream that replaces another one; None for one that was closed."""
    encoding = stream.encoding if stream else "utf-8"
    is_interactive = descriptor == STDERR or os.isatty(descriptor)
    buffer = io.BufferedWriter(_Stream(descriptor))
    return io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=is_interactive)
