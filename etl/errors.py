"""Every error of the program, by what the operator does next.

    BillingError                  one line for a person; never a secret, never a phone number
    ├── ConfigError               mend the setting it names
    ├── VendorError
    │   ├── TokenRefused          renew the token; asking again is useless
    │   ├── Refused               the vendor says no to this very question; asking it again is useless
    │   │   └── UnknownRecord     the vendor has no record with this id; look where the id came from
    │   └── Transient             ask again, a little later
    │       └── UnusableAnswer    an answer came and cannot be trusted: ask again, then use the other source
    │           └── OtherDays     it tells of days that nobody asked for: what is stored of those asked for stays
    ├── VendorUnavailable         retries and fallback are spent: what was completed is kept, run again later
    ├── DatabaseFailed            mend the database: nothing of the window is stored
    │   └── SchemaMismatch        migrate the database, or install the version that made it
    │       └── ForeignDatabase   take another database: this one is another program's
    ├── NoRoom                   make room for temporary files, or set TMPDIR to where there is some
    ├── CheckFailed               mend what `check` names: nothing was attempted
    └── RunElsewhere              another run of the account holds the lock, or has overtaken this one
    Stopped (BaseException)       SIGINT or SIGTERM: no retry may swallow it

`cli.exit_codes` alone turns them into exit codes.
"""

from __future__ import annotations


class BillingError(Exception):
    """The root of all that the program raises on purpose. Its text is one line, safe to print and to log."""


class ConfigError(BillingError):
    """A setting is missing or wrong. The text names the setting, what is wrong with it and the cure."""


class VendorError(BillingError):
    """One request did not bring what was asked for."""


class TokenRefused(VendorError):
    """The vendor answered 401 or 403."""


class Refused(VendorError):
    """The vendor answered another 4xx: the question itself is refused."""


class UnknownRecord(Refused):
    """The vendor has no record with the id. The text is the vendor's own."""


class Transient(VendorError):
    """The request failed in a way that may pass.

    Attributes:
        retry_after: Seconds the vendor asked to wait, if it did.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnusableAnswer(Transient):
    """A complete answer came, and it is not one that can be believed."""


class OtherDays(UnusableAnswer):
    """A complete answer came, and it is one to another question: it tells of none of the days asked for."""


class VendorUnavailable(BillingError):
    """Neither source answered, after all retries."""


class DatabaseFailed(BillingError):
    """The database could not be reached, or refused a write."""


class SchemaMismatch(DatabaseFailed):
    """The database's schema is not the one this version works on."""


class ForeignDatabase(SchemaMismatch):
    """Another program's tables, views or revision stand in the database. Nothing of it was changed."""


class NoRoom(BillingError):
    """A temporary file could not be written, or not be read back."""


class CheckFailed(BillingError):
    """What was looked at is not as it should be. The text says what, and the cure."""


class RunElsewhere(BillingError):
    """Another run of the same account is under way, or has begun since this one did."""


class Stopped(BaseException):
    """A signal asked the program to stop. A BaseException, because requests and tenacity retry Exceptions.

    Attributes:
        signal_number: SIGINT or SIGTERM.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
