"""The exceptions of the program, named for what went wrong; each line says what the operator does next.

    BillingError                       a message of one line; never a secret, never a phone number
    ├── ConfigError                    correct the setting it names
    ├── VendorError
    │   ├── AuthenticationError        renew the token; a retry is useless
    │   ├── RequestRejected            the vendor refuses this request; a retry is useless
    │   │   └── UnknownRecordError     the vendor has no record with this id; check where the id came from
    │   └── RetryableError             retry a little later
    │       └── InvalidResponse        an answer that cannot be trusted: retry, then use the other source
    │           └── DateRangeMismatch  an answer for other days: what is stored of the requested days is kept
    ├── SourceUnavailable              retries and fallback are exhausted: completed windows are kept, run again later
    ├── DatabaseError                  repair the database: nothing of the window is stored
    │   └── SchemaMismatchError        migrate the database, or install the version that created it
    │       └── ForeignDatabaseError   use another database: this one belongs to another program
    ├── DiskFullError                  free space for temporary files, or point TMPDIR to where there is some
    ├── CheckFailedError               repair what `check` names: nothing was attempted
    └── ConcurrentRunError             another run of the account holds the lock, or has overtaken this one
    Interrupted (BaseException)        SIGINT or SIGTERM: no retry may swallow it

`cli.exit_codes` alone turns them into exit codes.
"""

from __future__ import annotations


class BillingError(Exception):
    """The root of all that the program raises on purpose. Its text is one line, safe to print and to log."""


class ConfigError(BillingError):
    """A setting is missing or wrong. The text names the setting, what is wrong with it and the cure."""


class VendorError(BillingError):
    """One request did not bring what was asked for."""


class AuthenticationError(VendorError):
    """The vendor answered 401 or 403."""


class RequestRejected(VendorError):
    """The vendor answered another 4xx: the question itself is refused."""


class UnknownRecordError(RequestRejected):
    """The vendor has no record with the id. The text is the vendor's own."""


class RetryableError(VendorError):
    """The request failed in a way that may pass.

    Attributes:
        retry_after: Seconds the vendor asked to wait, if it did.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InvalidResponse(RetryableError):
    """A complete answer came, and it is not one that can be believed."""


class DateRangeMismatch(InvalidResponse):
    """A complete answer came, and it is one to another question: it tells of none of the days asked for."""


class SourceUnavailable(BillingError):
    """Neither source answered, after all retries."""


class DatabaseError(BillingError):
    """The database could not be reached, or refused a write."""


class SchemaMismatchError(DatabaseError):
    """The database's schema is not the one this version works on."""


class ForeignDatabaseError(SchemaMismatchError):
    """Another program's tables, views or revision stand in the database. Nothing of it was changed."""


class DiskFullError(BillingError):
    """A temporary file could not be written, or not be read back."""


class CheckFailedError(BillingError):
    """What was looked at is not as it should be. The text says what, and the cure."""


class ConcurrentRunError(BillingError):
    """Another run of the same account is under way, or has begun since this one did."""


class Interrupted(BaseException):
    """A signal asked the program to stop. A BaseException, because requests and tenacity retry Exceptions.

    Attributes:
        signal_number: SIGINT or SIGTERM.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
