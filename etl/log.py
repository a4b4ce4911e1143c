"""Logging to stderr without secrets: the formatted line is redacted as a whole, tracebacks included."""

from __future__ import annotations

import base64
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Any, Final, TextIO
from urllib.parse import quote

from etl.pii import MASK, redact_phones

LEVELS: Final = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}
NOTICE_LOGGER: Final = "etl.notice"
"""The logger of notices, which are shown at every verbosity from 0 on; its warnings at -1 as well."""
_MIN_SECRET_LENGTH: Final = 4
"""Characters; redacting shorter secrets would make logs unreadable and protect nothing."""
_PRIORITIES: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
"""Syslog priorities, which systemd's journal reads at the start of a line. Source: sd-daemon(3)."""
_context: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))


@contextmanager
def log_context(**fields: object) -> Iterator[None]:
    """Add fields (`run_id`, `account`, `window`) to every log record in the block.

    A new thread starts without them, unless it runs in `contextvars.copy_context()`.
    """
    before = _context.set({**_context.get(), **{name: str(value) for name, value in fields.items()}})
    try:
        yield
    finally:
        _context.reset(before)


class Redactor:
    """Redacts secrets by value, in every encoding a program may print, and phone numbers by format.

    A text is looked up in a table of all secrets, so that its cost does not grow with their number: a configuration may
    have thousands of accounts. Upper and lower case are equal.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._encodings: set[str] = set()
        self._lengths: dict[str, list[int]] = {}
        """Lengths of the encodings, longest first, by their first _MIN_SECRET_LENGTH characters."""
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Add secrets to redact."""
        for secret in secrets:
            if len(secret) >= _MIN_SECRET_LENGTH:
                for encoding in map(_fold_case, _encodings_of(secret)):
                    self._encodings.add(encoding)
                    lengths = {len(encoding), *self._lengths.get(encoding[:_MIN_SECRET_LENGTH], ())}
                    self._lengths[encoding[:_MIN_SECRET_LENGTH]] = sorted(lengths, reverse=True)

    def __call__(self, text: str) -> str:
        """Redact a text."""
        return redact_phones(self._mask_secrets(text))

    def _mask_secrets(self, text: str) -> str:
        folded = _fold_case(text)
        parts: list[str] = []
        kept = position = 0
        while position < len(folded):
            if length := self._secret_at(folded, position):
                parts += text[kept:position], MASK
                position = kept = position + length
            else:
                position += 1
        return "".join(parts) + text[kept:]

    def _secret_at(self, folded: str, position: int) -> int:
        """The length of the longest secret that starts here; 0 if there is none."""
        for length in self._lengths.get(folded[position : position + _MIN_SECRET_LENGTH], ()):
            if folded[position : position + length] in self._encodings:
                return length
        return 0


def _encodings_of(secret: str) -> set[str]:
    encoded = base64.b64encode(secret.encode()).decode()
    escaped = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    return {secret, quote(secret, safe=""), encoded, encoded.rstrip("="), *escaped}


def _fold_case(text: str) -> str:
    """The text in lower case, character by character: `str.lower` lengthens "İ", and "Σ" depends on the next letter."""
    if text.isascii():
        return text.lower()
    return "".join(lower if len(lower := character.lower()) == 1 else character for character in text)


class _RedactingFormatter(logging.Formatter):
    """Redacts the output of another formatter. A filter would miss tracebacks and records of other loggers."""

    def __init__(self, inner: logging.Formatter, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._inner = inner
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(self._inner.format(record))


class _TextFormatter(logging.Formatter):
    """Formats `WARNING: account: message`, with the time in front if `timed`."""

    def __init__(self, *, timed: bool, levelled: bool) -> None:
        super().__init__()
        self._timed = timed
        self._levelled = levelled

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        account = _context.get().get("account")
        prefix = f"{account}: " if account and not record.message.startswith(f"{account}: ") else ""
        level = f"{record.levelname}: " if self._levelled else ""
        return f"{_timestamp(record) + ' ' if self._timed else ''}{level}{prefix}{record.message}"


class _JournalFormatter(logging.Formatter):
    """Prefixes each line of another formatter's output with its priority."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES.get(record.levelno, _PRIORITIES[logging.INFO])
        return "\n".join(f"<{priority}>{line}" for line in self._inner.format(record).splitlines())


def _timestamp(record: logging.LogRecord) -> str:
    """The time of a record in RFC 3339 format, UTC."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json_formatter() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    class WithContext(JsonFormatter):
        def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
            log_data["timestamp"] = _timestamp(record)
            super().add_fields(log_data, record, message_dict)
            log_data |= _context.get()

    return WithContext("%(levelname)s %(name)s %(message)s")


def is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether the stream is connected to systemd's journal.

    Source: systemd.exec(5): `JOURNAL_STREAM` has the device and inode, also if stderr was redirected.
    """
    expected = environment.get("JOURNAL_STREAM")
    if not expected:
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return expected == f"{status.st_dev}:{status.st_ino}"


def set_up_logs(
    verbosity: int, log_format: str, redact: Redactor, stream: TextIO | None = None, *, journal: bool = False
) -> None:
    """Configure logging to stderr.

    Args:
        verbosity: -1 for errors, 0 for warnings, 1 for progress with timestamps, 2 for debugging.
        log_format: `text` or `json`.
        redact: Redacts every line.
        stream: Replaces stderr.
        journal: Whether systemd's journal reads the stream: text lines have priorities instead of timestamps.
    """
    in_json = log_format == "json"
    inner = _json_formatter() if in_json else _TextFormatter(timed=verbosity > 0 and not journal, levelled=not journal)
    formatter: logging.Formatter = _RedactingFormatter(inner, redact)
    if journal and not in_json:
        formatter = _JournalFormatter(formatter)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[max(-1, min(verbosity, 2))])
    # urllib3 logs URLs at DEBUG, and at WARNING on its own retries; the client logs retries without URLs.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    # SQLAlchemy logs rows at DEBUG, unless it is imported after this. A signal may arrive while a connection is closed,
    # and its pool would log a traceback.
    logging.getLogger("sqlalchemy").setLevel(logging.WARNING if verbosity > 1 else logging.CRITICAL)
    # Alembic logs its plugins at INFO.
    logging.getLogger("alembic").setLevel(logging.NOTSET if verbosity > 1 else logging.WARNING)
    logging.getLogger(NOTICE_LOGGER).setLevel(logging.INFO if verbosity >= 0 else logging.WARNING)
    logging.captureWarnings(capture=True)

    install_excepthooks(verbosity)


def install_excepthooks(verbosity: int) -> None:
    """Log uncaught exceptions as redacted log records, with a traceback only at verbosity 2."""

    def report(source: str, error: BaseException | None) -> None:
        details = error if verbosity > 1 else None
        logging.getLogger("etl").critical("%s: %s", source, type(error).__name__, exc_info=details)

    def handle_main(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
        report("a bug", error)

    def handle_thread(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_type is not SystemExit:
            report("a bug in a thread", arguments.exc_value)

    def handle_unraisable(arguments: sys.UnraisableHookArgs) -> None:
        # Without the finalised object: its repr may contain secrets.
        report("a bug in a finaliser", arguments.exc_value)

    sys.excepthook = handle_main
    threading.excepthook = handle_thread
    sys.unraisablehook = handle_unraisable
