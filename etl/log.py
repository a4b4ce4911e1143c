"""Logs on stderr, without secrets: what a formatter has put together is cleaned as a whole, tracebacks included."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
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
"""The logger of sentences that are for everybody, however few logs are wanted."""
_MIN_SECRET_LENGTH: Final = 4
"""Characters; hiding a shorter one would make logs unreadable and protect nothing."""
_PRIORITIES: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
"""Of syslog, as systemd's journal reads them at the beginning of a line. Source: sd-daemon(3)."""
_context: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))


@contextmanager
def log_context(**fields: object) -> Iterator[None]:
    """What is logged in the block is about these: `run_id`, `account`, `window`.

    A thread begins with nothing of it; `contextvars.copy_context` takes it along.
    """
    before = _context.set({**_context.get(), **{name: str(value) for name, value in fields.items()}})
    try:
        yield
    finally:
        _context.reset(before)


class Redactor:
    """Hides secrets by their value, in every form a program may print them in, and phone numbers by their form."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._pattern: re.Pattern[str] | None = None
        self._forms: set[str] = set()
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Hide these from now on."""
        for secret in secrets:
            if len(secret) >= _MIN_SECRET_LENGTH:
                encoded = base64.b64encode(secret.encode()).decode()
                self._forms |= {secret, quote(secret, safe=""), repr(secret)[1:-1], encoded, encoded.rstrip("=")}
                self._forms |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
        if self._forms:
            longest_first = sorted(self._forms, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)

    def __call__(self, text: str) -> str:
        """The text without them."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        return redact_phones(text)


class _RedactingFormatter(logging.Formatter):
    """Cleans what another formatter made: a filter would see neither a traceback nor another logger's records."""

    def __init__(self, inner: logging.Formatter, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._inner = inner
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(self._inner.format(record))


class _TextFormatter(logging.Formatter):
    """`WARNING: account: what is the matter`, and before it the time, for those who want to know what happens when."""

    def __init__(self, *, timed: bool, levelled: bool) -> None:
        super().__init__()
        self._timed = timed
        self._levelled = levelled

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        account = _context.get().get("account")
        about = f"{account}: " if account and not record.message.startswith(f"{account}: ") else ""
        level = f"{record.levelname}: " if self._levelled else ""
        return f"{_timestamp(record) + ' ' if self._timed else ''}{level}{about}{record.message}"


class _JournalFormatter(logging.Formatter):
    """What another formatter made, each line with its priority in front."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES.get(record.levelno, _PRIORITIES[logging.INFO])
        return "\n".join(f"<{priority}>{line}" for line in self._inner.format(record).splitlines())


def _timestamp(record: logging.LogRecord) -> str:
    """RFC 3339, UTC."""
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
    """Whether systemd's journal is what reads the stream.

    Source: systemd.exec(5): `JOURNAL_STREAM` has its device and inode, also for those whose stderr goes elsewhere.
    """
    named = environment.get("JOURNAL_STREAM")
    if not named:
        return False
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{found.st_dev}:{found.st_ino}"


def set_up_logs(
    verbosity: int, log_format: str, redact: Redactor, stream: TextIO | None = None, *, journal: bool = False
) -> None:
    """Send logs to stderr.

    Args:
        verbosity: -1 errors, 0 warnings, 1 what happens, and when, 2 everything.
        log_format: `text` or `json`.
        redact: Cleans every line.
        stream: Instead of stderr.
        journal: Whether systemd's journal reads it: text has priorities then, instead of times.
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
    # At DEBUG, and on its own retries at WARNING, urllib3 prints URLs; ours say the same without them.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    # A signal may arrive while a connection is closed, and the pool would print a traceback of it.
    logging.getLogger("sqlalchemy").setLevel(logging.NOTSET if verbosity > 1 else logging.CRITICAL)
    # What Alembic says of its plugins is for those who want to know everything.
    logging.getLogger("alembic").setLevel(logging.NOTSET if verbosity > 1 else logging.WARNING)
    logging.getLogger(NOTICE_LOGGER).setLevel(logging.INFO if verbosity >= 0 else logging.ERROR)
    logging.captureWarnings(capture=True)

    install_excepthooks(verbosity)


def install_excepthooks(verbosity: int) -> None:
    """What would print a traceback of its own, past the formatter, becomes a log line: one without it below -vv."""

    def tell(what: str, error: BaseException | None) -> None:
        details = error if verbosity > 1 else None
        logging.getLogger("etl").critical("%s: %s", what, type(error).__name__, exc_info=details)

    def tell_of_the_program(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
        tell("a bug", error)

    def tell_of_a_thread(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_type is not SystemExit:
            tell("a bug in a thread", arguments.exc_value)

    def tell_of_a_finaliser(arguments: sys.UnraisableHookArgs) -> None:
        # Without the object that was being finalised: its repr may hold anything.
        tell("a bug in clearing up", arguments.exc_value)

    sys.excepthook = tell_of_the_program
    threading.excepthook = tell_of_a_thread
    sys.unraisablehook = tell_of_a_finaliser
