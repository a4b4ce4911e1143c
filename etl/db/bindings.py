"""Settings that an account is bound to from its first run: privacy format, token, time zone.

With a different privacy format every day would be stored a second time, with a second label for the same token every
charge, and a different zone would mix rows of two zones. All three are refused before anything is fetched.
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
from etl.suggestions import describe_known, similar_names

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_PERSONALISATION: Final = b"billing-etl: tok"


@dataclass(frozen=True, slots=True)
class Binding:
    """The configured settings that an account's rows depend on.

    Attributes:
        form: Format in which phones and codes are stored.
        fingerprint: `fingerprint_of` the token; None skips the comparison.
        zone: Zone of the vendor's wall clock; None skips the comparison.
        labels: Accounts of the configuration file; these may share a token.
    """

    form: PrivacyFormat = field(default_factory=PrivacyFormat)
    fingerprint: str | None = None
    zone: ZoneInfo | None = None
    labels: frozenset[str] = frozenset()


FIRST_BINDING: Final = Binding()
"""Plain phones and codes; token and zone are not compared."""


@dataclass(frozen=True, slots=True)
class BindingRemarks:
    """Result of a successful binding check.

    Attributes:
        notice: Message about a changed token.
        warning: Message about another account with the same token.
        changes: Columns of the account that `store_binding` updates.
    """

    notice: str | None = None
    warning: str | None = None
    changes: Mapping[str, str] = field(default_factory=dict)


def fingerprint_of(token: str) -> str:
    """One-way hash of a token. Vendor tokens are UUIDs, so brute force is not feasible."""
    return hashlib.blake2b(token.encode(), digest_size=32, person=_PERSONALISATION).hexdigest()


def require_binding(connection: Connection, label: str, binding: Binding) -> BindingRemarks:
    """Require that the settings match those the account is bound to.

    Args:
        connection: Connection to read with.
        label: Label of the account. A new account accepts any settings except the token of another account.
        binding: The configured settings.

    Raises:
        ConfigError: The settings differ, or `account set-timezone` or `account delete` was interrupted. The message
            names the setting and the remedy.
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
        return BindingRemarks(warning=_duplicate_token_warning(connection, label, binding))
    quoted = shlex.quote(label)
    if account.deletion_started_at is not None:
        raise ConfigError(
            f"the account {label} is partly deleted; to delete the remaining rows, run: "
            f"billing-etl account delete {quoted}"
        )
    if account.timezone_to is not None:
        raise ConfigError(
            f"the times of the account {label} are partly converted; to convert the remaining rows, run: "
            f"billing-etl account set-timezone {quoted} {account.timezone_to}"
        )
    _require_form(account, binding.form)
    _require_zone(account, binding.zone)
    zone = {"timezone": binding.zone.key} if binding.zone and account.timezone is None else {}
    if binding.fingerprint in {None, account.token_fingerprint}:
        return BindingRemarks(changes=zone)
    notice = "the token differs from that of the last run; the account uses the new one from now on"
    return BindingRemarks(
        notice=notice if account.token_fingerprint else None,
        warning=_duplicate_token_warning(connection, label, binding),
        changes=zone | {"token_fingerprint": binding.fingerprint},
    )


def store_binding(connection: Connection, account_id: int, remarks: BindingRemarks) -> None:
    """Store the zone of an account that has none yet, and the fingerprint of a changed token."""
    if remarks.changes:
        connection.execute(update(accounts).where(accounts.c.id == account_id).values(remarks.changes))


def first_binding(binding: Binding) -> dict[str, Any]:
    """Columns of a new account."""
    form = binding.form
    return {
        "phones": form.phones,
        "phones_key_id": form.key_id or None,
        "codes": form.codes,
        "token_fingerprint": binding.fingerprint,
        "timezone": binding.zone.key if binding.zone else None,
    }


def unknown_account(connection: Connection, label: str) -> ConfigError:
    """Error for a label that the database does not have; the message names the existing labels, or the closest."""
    known = sorted(connection.scalars(select(accounts.c.label)))
    return ConfigError(f"the database has no account {label}; {describe_known(label, known)}")


def end_of_day(day: date, zone: tzinfo) -> datetime:
    """End of a day of the vendor's wall clock, in its zone."""
    return datetime.combine(day + ONE_DAY, time.min, tzinfo=zone)


def _labels_with_token(connection: Connection, label: str, binding: Binding) -> list[str]:
    """Labels of the other accounts with the same token."""
    if binding.fingerprint is None:
        return []
    account = accounts.c
    others = select(account.label).where(account.token_fingerprint == binding.fingerprint, account.label != label)
    return sorted(connection.scalars(others))


def _require_own_token(connection: Connection, label: str, binding: Binding) -> None:
    others = [other for other in _labels_with_token(connection, label, binding) if not {label, other} <= binding.labels]
    if not others:
        return
    owner = similar_names(label, others, similarity=0.0)[0]
    remedy = f"name its section [accounts.{owner}]" if label in binding.labels else f"set BILLING_ACCOUNT={owner}"
    command = f"billing-etl account rename {shlex.quote(owner)} {shlex.quote(label)}"
    raise ConfigError(
        f"BILLING_ACCOUNT is {label}, which this database does not have yet, and the token is that of the account "
        f"{owner}: each charge would be stored under both. To continue with {owner}, {remedy}; to rename it to "
        f"{label}, run: {command}; to keep both, name both in the configuration file"
    )


def _duplicate_token_warning(connection: Connection, label: str, binding: Binding) -> str | None:
    others = _labels_with_token(connection, label, binding)
    if not others:
        return None
    return f"the accounts {', '.join(others)} and {label} have the same token: each charge stands under both"


def _require_form(account: Row[Any], form: PrivacyFormat) -> None:
    if form.phones != account.phones:
        problem, stored = f"BILLING_PHONES is {form.phones}", f"BILLING_PHONES={account.phones}"
    elif form.key_id != (account.phones_key_id or ""):
        problem = f"BILLING_PHONES_KEY_FILE holds the key {form.key_id}"
        stored = f"BILLING_PHONES_KEY_FILE to the file of the key {account.phones_key_id}"
    elif form.codes != account.codes:
        problem, stored = f"BILLING_CODES is {form.codes}", f"BILLING_CODES={account.codes}"
    else:
        return
    raise ConfigError(
        f"{problem}, and the account {account.label} is stored in another format: set {stored} again, or start over, "
        f"after billing-etl account delete {shlex.quote(account.label)} or in an empty database, and backfill"
    )


def _require_zone(account: Row[Any], zone: ZoneInfo | None) -> None:
    if zone is None or account.timezone == zone.key:
        return
    if account.timezone is None:
        # No zone stored yet: the end of the watermark's day in UTC reveals the zone of the last run.
        if account.last_synced_date is None or account.synced_until_utc == end_of_day(account.last_synced_date, zone):
            return
        stored, remedy = "another zone", "the zone of the earlier runs"
    else:
        stored, remedy = account.timezone, f"BILLING_TIMEZONE={account.timezone}"
    raise ConfigError(
        f"BILLING_TIMEZONE is {zone.key}, and the times of the account {account.label} are stored in {stored}: set "
        f"{remedy} again, or convert the stored times with: billing-etl account set-timezone "
        f"{shlex.quote(account.label)} {zone.key}"
    )
