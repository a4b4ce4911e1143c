"""The exceptions of the program. Each line names the operator's next step.

    BillingError                       the message is one line without secrets and phone numbers
    ├── ConfigError                    correct the setting it names
    │   └── SettingError               the same; services add the environment variable and the remedy
    ├── AuthenticationError            renew the token: neither a retry nor the other source can help
    ├── VendorError                    the request failed: use the other source, or run again later
    │   ├── RequestRejected            the vendor refuses this request; a retry is useless
    │   │   ├── UnknownRecordError     the vendor has no record with this id; check where the id came from
    │   │   └── NoRecordsError         the vendor says that it has no records of the days: other evidence may agree
    │   └── RetryableError             retry a little later
    │       └── InvalidResponse        an unreliable answer: retry, then use the other source
    │           └── DateRangeMismatch  an answer for other days: the stored rows are kept
    ├── SourceUnavailable              retries and fallback are exhausted: completed windows are stored, run again later
    ├── DatabaseError                  repair the database: nothing of the window is stored
    │   └── SchemaMismatchError        migrate the database, or install the version that created it
    │       └── ForeignDatabaseError   use another database: this one belongs to another program
    ├── DiskFullError                  free disk space for temporary files, or set TMPDIR
    ├── OutputError                    free disk space where stdout is written to
    ├── CheckFailedError               repair what `check` names: nothing was changed
    └── ConcurrentRunError             wait for the other run of the account: it holds the lock, or is newer
    Interrupted (BaseException)        SIGINT or SIGTERM: no retry may catch it

Only `exit_codes` maps them to exit codes.
"""

from __future__ import annotations

from typing import Any


class BillingError(Exception):
    """Base class of all expected errors. The message is one line, safe to print and to log."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without a call of `__init__`, whose arguments differ between the classes."""
        return _restore, (type(self), self.args, self.__dict__)


def _restore(kind: type[BillingError], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> BillingError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(attributes)
    return error


class ConfigError(BillingError):
    """A setting is missing or invalid. The message names the setting, the problem and the solution."""


class SettingError(ConfigError):
    """A setting that a stage cannot work with. Services catch it, and name the environment variable and the remedy.

    Attributes:
        field: Name of the field of the settings.
        problem: The rest of the sentence that begins with the setting's name.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field
        self.problem = problem


class AuthenticationError(BillingError):
    """HTTP 401 or 403. No VendorError: a fallback for a failed request does not catch it."""


class VendorError(BillingError):
    """A request failed."""


class RequestRejected(VendorError):
    """Another HTTP 4xx: the vendor refuses this request."""


class UnknownRecordError(RequestRejected):
    """The vendor has no record with the id. The message is the vendor's."""


class NoRecordsError(RequestRejected):
    """The vendor says by an error that it has no records of the requested days: an empty answer in another form."""


class RetryableError(VendorError):
    """A transient failure of a request.

    Attributes:
        retry_after: Seconds to wait, from the vendor's Retry-After header; None without one.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InvalidResponse(RetryableError):
    """An answer that was received completely, and is malformed, truncated or implausible."""


class DateRangeMismatch(InvalidResponse):
    """An answer that was received completely, and covers none of the requested days."""


class SourceUnavailable(BillingError):
    """Both sources failed after all retries."""


class DatabaseError(BillingError):
    """The database is unreachable or refuses a statement."""


class SchemaMismatchError(DatabaseError):
    """The database has the schema of another version."""


class ForeignDatabaseError(SchemaMismatchError):
    """The database contains another program's tables, views or revision. Nothing was changed."""


class DiskFullError(BillingError):
    """A temporary file could not be written or read back."""


class OutputError(BillingError):
    """Stdout could not be written. What the command did is not undone."""


class CheckFailedError(BillingError):
    """A check failed. The message names the problem and the solution."""


class ConcurrentRunError(BillingError):
    """Another run of the account is in progress, or was started after this one."""


class Interrupted(BaseException):
    """A signal requested a stop. A BaseException, so that no handler of Exception catches it.

    Attributes:
        signal_number: SIGINT or SIGTERM.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """The exit code of a program that the signal ended."""
        return 128 + self.signal_number
