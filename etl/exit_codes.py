"""Exit codes: their meaning, the code of each error, and which of several codes outranks the others."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from etl.errors import (
    AuthenticationError,
    BillingError,
    CheckFailedError,
    ConcurrentRunError,
    ConfigError,
    DatabaseError,
    DiskFullError,
    OutputError,
    SourceUnavailable,
    UnknownRecordError,
    VendorError,
)


class ExitCode(IntEnum):
    """The exit codes of the contract; those of sysexits.h where one fits."""

    OK = 0
    CHECK_FAILED = 1
    USAGE = 2
    NEEDS_REVIEW = 65
    UNAVAILABLE = 69
    SOFTWARE = 70
    DATABASE = 74
    LOCKED = 75
    REFUSED = 77
    CONFIG = 78
    INTERRUPTED = 130
    """128 + SIGINT."""
    TERMINATED = 143
    """128 + SIGTERM."""


EXIT_CODES: Final[dict[int, str]] = {
    ExitCode.OK: "everything requested is in the database",
    ExitCode.CHECK_FAILED: "a check failed",
    ExitCode.USAGE: "usage error; the message names the option",
    ExitCode.NEEDS_REVIEW: "done, but needs attention: rejected records, a suspect day, a difference",
    ExitCode.UNAVAILABLE: "the vendor is unavailable; completed windows are kept",
    ExitCode.SOFTWARE: "internal error (a bug)",
    ExitCode.DATABASE: "the database failed: that window is not stored; or stdout is full",
    ExitCode.LOCKED: "another run of the account is in progress",
    ExitCode.REFUSED: "the vendor refused the token",
    ExitCode.CONFIG: "configuration error; the message names the setting",
    ExitCode.INTERRUPTED: "stopped by SIGINT",
    ExitCode.TERMINATED: "stopped by SIGTERM",
}
"""The meaning of each code in one line, for `--help` and the documentation."""

_CODES: Final[tuple[tuple[type[BillingError], ExitCode], ...]] = (
    (ConfigError, ExitCode.CONFIG),
    (AuthenticationError, ExitCode.REFUSED),
    (UnknownRecordError, ExitCode.CHECK_FAILED),
    (SourceUnavailable, ExitCode.UNAVAILABLE),
    (VendorError, ExitCode.UNAVAILABLE),
    (CheckFailedError, ExitCode.CHECK_FAILED),
    (ConcurrentRunError, ExitCode.LOCKED),
    (DatabaseError, ExitCode.DATABASE),
    (DiskFullError, ExitCode.DATABASE),
    (OutputError, ExitCode.DATABASE),
)
"""The first matching class decides, so subclasses come before their base."""

SEVERITY: Final[tuple[int, ...]] = (
    *(ExitCode.OK, ExitCode.CHECK_FAILED, ExitCode.NEEDS_REVIEW, ExitCode.LOCKED, ExitCode.UNAVAILABLE),
    *(ExitCode.REFUSED, ExitCode.CONFIG, ExitCode.DATABASE, ExitCode.SOFTWARE),
)
"""From the mildest to the most severe: success, success that needs review, temporary conditions, conditions that a
person has to clear (the token of one account, its settings, the shared database), and bugs."""


def code_for_error(error: BillingError) -> ExitCode:
    """The exit code of an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.SOFTWARE)


def most_severe(codes: Iterable[int]) -> int:
    """The exit code of several runs: the most severe one."""
    return max(codes, key=SEVERITY.index, default=ExitCode.OK)
