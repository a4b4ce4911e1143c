"""What an account is bound to since its first run: the form of its phones and codes, its token, its time zone.

Another form would store every day a second time, another label for the same token every charge, and another zone would
leave rows of two zones side by side: each is refused before anything is fetched.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, tzinfo
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Row, select, update

from etl.date_ranges import ONE_DAY
from etl.db.tables import accounts, sync_state
from etl.errors import ConfigError
from etl.model import PrivacyFormat

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_PERSONALISATION: Final = b"billing-etl: tok"


@dataclass(frozen=True, slots=True)
class Binding:
    """The settings of an account that its rows depend on.

    Attributes:
        form: In which phones and codes are stored.
        fingerprint: Of the token, as of `fingerprint_of`; None where there is none to compare.
        zone: Of the vendor's wall clock; None where there is none to compare.
        labels: The accounts of the configuration file. Two of them may have the same token.
    """

    form: PrivacyFormat = field(default_factory=PrivacyFormat)
    fingerprint: str | None = None
    zone: ZoneInfo | None = None
    labels: frozenset[str] = frozenset()


FIRST_BINDING: Final = Binding()
"""Plain phones and codes, and nothing else to compare."""


@dataclass(frozen=True, slots=True)
class BindingRemarks:
    """What is new of a binding that holds.

    Attributes:
        notice: That the token is another one than before, for a person.
        warning: That another account has the same token.
        changes: Columns of the account that `bind` writes.
    """

    notice: str | None = None
    warning: str | None = None
    changes: Mapping[str, str] = field(default_factory=dict)


def fingerprint_of(token: str) -> str:
    """A one-way hash of a token. The vendor's tokens are UUIDs: nobody finds one by trying."""
    return hashlib.blake2b(token.encode(), digest_size=32, person=_PERSONALISATION).hexdigest()


def require_binding(connection: Connection, label: str, binding: Binding) -> BindingRemarks:
    """Make sure that these settings are those the account is bound to.

    Args:
        connection: To read.
        label: Of the account. A new one may be bound to anything but the token of another account.
        binding: The settings of today.

    Raises:
        ConfigError: They are not, or `account set-timezone` or `account delete` was stopped half-way. The text names
            the setting and the cure.
    """
    state = sync_state.c
    account = connection.execute(
        select(accounts, state.first_day, state.last_synced_date, state.synced_until_utc)
        .join_from(accounts, sync_state, state.account_id == accounts.c.id, isouter=True)
        .where(accounts.c.label == label)
    ).one_or_none()
    if account is None or account.first_day is None:
        _require_own_token(connection, label, binding)
    if account is None:
        return BindingRemarks(warning=_warn_of_twins(connection, label, binding))
    quoted = shlex.quote(label)
    if account.deletion_started_at is not None:
        raise ConfigError(
            f"the account {label} is deleted in part; billing-etl account delete {quoted} removes the rest"
        )
    if account.timezone_to is not None:
        raise ConfigError(
            f"the times of the account {label} are turned in part; billing-etl account set-timezone {quoted} "
            f"{account.timezone_to} turns the rest"
        )
    _require_form(account, binding.form)
    _require_zone(account, binding.zone)
    zone = {"timezone": binding.zone.key} if binding.zone and account.timezone is None else {}
    if binding.fingerprint in {None, account.token_fingerprint}:
        return BindingRemarks(changes=zone)
    notice = "the token is another one than that of the last run; from now on it is the account's"
    return BindingRemarks(
        notice=notice if account.token_fingerprint else None,
        warning=_warn_of_twins(connection, label, binding),
        changes=zone | {"token_fingerprint": binding.fingerprint},
    )


def bind(connection: Connection, account_id: int, remarks: BindingRemarks) -> None:
    """Keep what the account does not have yet, and a changed token's fingerprint."""
    if remarks.changes:
        connection.execute(update(accounts).where(accounts.c.id == account_id).values(remarks.changes))


def first_binding(binding: Binding) -> dict[str, Any]:
    """The columns of a new account."""
    form = binding.form
    return {
        "phones": form.phones,
        "phones_key_id": form.key_id or None,
        "codes": form.codes,
        "token_fingerprint": binding.fingerprint,
        "timezone": binding.zone.key if binding.zone else None,
    }


def unknown_account(connection: Connection, label: str) -> ConfigError:
    """That the database has no such account, and which ones it has."""
    known = sorted(connection.scalars(select(accounts.c.label)))
    close = _closest(label, known)
    meant = f"; did you mean {close}?" if close else ""
    has = f"it has {', '.join(known)}" if known else "it has none yet"
    return ConfigError(f"the database has no account {label}; {has}{meant}")


def _closest(label: str, known: list[str]) -> str | None:
    from difflib import get_close_matches  # for who misspelled a label

    return next(iter(get_close_matches(label, known, n=1)), None)


def end_of_day(day: date, zone: tzinfo) -> datetime:
    """When a day of the vendor's wall clock is over."""
    return datetime.combine(day + ONE_DAY, time.min, tzinfo=zone)


def _labels_of_token(connection: Connection, label: str, binding: Binding) -> list[str]:
    """The other accounts that have the token."""
    if binding.fingerprint is None:
        return []
    account = accounts.c
    others = select(account.label).where(account.token_fingerprint == binding.fingerprint, account.label != label)
    return sorted(connection.scalars(others))


def _require_own_token(connection: Connection, label: str, binding: Binding) -> None:
    others = [other for other in _labels_of_token(connection, label, binding) if not {label, other} <= binding.labels]
    if not others:
        return
    meant = _closest(label, others) or others[0]
    section = f"call its section [accounts.{meant}]" if label in binding.labels else f"set BILLING_ACCOUNT={meant}"
    raise ConfigError(
        f"BILLING_ACCOUNT is {label}, of which this database has nothing yet, and the token is that of the account "
        f"{meant}: each charge would stand under both. To go on with {meant}, {section}; to call it {label}, run: "
        f"billing-etl account rename {shlex.quote(meant)} {shlex.quote(label)}; to have both, name both in the "
        "configuration file"
    )


def _warn_of_twins(connection: Connection, label: str, binding: Binding) -> str | None:
    others = _labels_of_token(connection, label, binding)
    if not others:
        return None
    return f"the accounts {', '.join(others)} and {label} have the same token: each charge stands under both"


def _require_form(account: Row[Any], form: PrivacyFormat) -> None:
    if form.phones != account.phones:
        wrong, right = f"BILLING_PHONES is {form.phones}", f"BILLING_PHONES={account.phones}"
    elif form.key_id != (account.phones_key_id or ""):
        wrong = f"BILLING_PHONES_KEY_FILE holds the key {form.key_id}"
        right = f"BILLING_PHONES_KEY_FILE to the file of the key {account.phones_key_id}"
    elif form.codes != account.codes:
        wrong, right = f"BILLING_CODES is {form.codes}", f"BILLING_CODES={account.codes}"
    else:
        return
    raise ConfigError(
        f"{wrong}, and the account {account.label} is stored in another form: set {right} again, or begin anew, after "
        f"billing-etl account delete {shlex.quote(account.label)} or in an empty database, and backfill"
    )


def _require_zone(account: Row[Any], zone: ZoneInfo | None) -> None:
    if zone is None or account.timezone == zone.key:
        return
    if account.timezone is None:
        # Bound by this very run: only the end of the watermark's day tells in which zone the last one was.
        if account.last_synced_date is None or account.synced_until_utc == end_of_day(account.last_synced_date, zone):
            return
        stored, right = "another zone", "it as it was"
    else:
        stored, right = account.timezone, f"BILLING_TIMEZONE={account.timezone}"
    raise ConfigError(
        f"BILLING_TIMEZONE is {zone.key}, and the times of the account {account.label} are stored in {stored}: set "
        f"{right} again, or turn what is stored with: billing-etl account set-timezone "
        f"{shlex.quote(account.label)} {zone.key}"
    )
