"""Settings that an account is bound to from its first run: privacy format, token, time zone; and its price terms.

With a different privacy format every day would be stored a second time, with a second label for the same token every
charge, and a different zone would mix rows of two zones. All three are refused before anything is fetched. Currency
and VAT change no row: different ones are stored, and reported.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, tzinfo
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Connection, Row, select, update

from etl.date_ranges import ONE_DAY
from etl.db.tables import accounts, sync_state
from etl.errors import ConfigError, SettingError
from etl.model import PrivacyFormat
from etl.suggestions import describe_known, similar_names

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_PERSONALISATION: Final = b"billing-etl: tok"


class PriceTerms(NamedTuple):
    """Currency and VAT of the vendor's prices; nothing is converted. The fields are columns of `accounts`.

    Attributes:
        currency: ISO 4217.
        vat_basis_points: VAT in hundredths of a percent; None if no rate is set.
        vat: `included` in the prices, or `excluded`: it comes on top.
    """

    currency: str
    vat_basis_points: int | None
    vat: str

    def __str__(self) -> str:
        if self.vat_basis_points is None:
            return f"{self.currency}, no VAT rate"
        return f"{self.currency}, VAT of {self.vat_basis_points / 100:g} % {self.vat}"


@dataclass(frozen=True, slots=True)
class Binding:
    """The configured settings that an account's rows depend on.

    Attributes:
        form: Format in which phones and codes are stored.
        fingerprint: `fingerprint_of` the token; None skips the comparison.
        zone: Zone of the vendor's wall clock; None skips the comparison.
        labels: Accounts of the configuration file.
        token_labels: Those of them that have this token: these may share it.
        terms: Currency and VAT; None leaves the stored ones.
    """

    form: PrivacyFormat = field(default_factory=PrivacyFormat)
    fingerprint: str | None = None
    zone: ZoneInfo | None = None
    labels: frozenset[str] = frozenset()
    token_labels: frozenset[str] = frozenset()
    terms: PriceTerms | None = None


class BindingError(SettingError):
    """A setting differs from that of an account's rows.

    Attributes:
        field: `account` (the token is that of another account), `phones`, `phones_key_file` (values are ids of keys),
            `codes` or `timezone`.
        label: Label of the account.
        configured: The configured value.
        stored: The value of the stored rows; of `account`, the label of the other account; None if unknown.
        in_file: Whether the account has a section in the configuration file.
        may_be_exchanged: Whether the other account has one as well, without this token.
        has_rows: Whether the database has rows of the account.
    """

    def __init__(
        self,
        field: str,
        label: str,
        configured: str,
        stored: str | None,
        *,
        in_file: bool = False,
        may_be_exchanged: bool = False,
        has_rows: bool = True,
    ) -> None:
        super().__init__(field, f"is {configured}, and {stored or 'another value'} in the rows of the account {label}")
        self.label = label
        self.configured = configured
        self.stored = stored
        self.in_file = in_file
        self.may_be_exchanged = may_be_exchanged
        self.has_rows = has_rows


FIRST_BINDING: Final = Binding()
"""Plain phones and codes; token and zone are not compared."""


@dataclass(frozen=True, slots=True)
class BindingRemarks:
    """Result of a successful binding check.

    Attributes:
        notice: Message about a changed token, or changed price terms.
        warning: Message about another account with the same token.
        changes: Columns of the account that `store_binding` and `store_fingerprint` update.
    """

    notice: str | None = None
    warning: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


def fingerprint_of(token: str) -> str:
    """One-way hash of a token. Vendor tokens are UUIDs, so brute force is not feasible."""
    return hashlib.blake2b(token.encode(), digest_size=32, person=_PERSONALISATION).hexdigest()


def require_binding(connection: Connection, label: str, binding: Binding) -> BindingRemarks:
    """Require that the settings match those the account is bound to.

    Args:
        connection: Connection to read with.
        label: Label of the account. A new account accepts any settings, and an old one a changed token, except the
            token that another account had last: unless the configuration file has it for both.
        binding: The configured settings.

    Raises:
        BindingError: The settings differ.
        ConfigError: `account set-timezone` or `account delete` was interrupted. The message names the remedy.
    """
    state = sync_state.c
    account = connection.execute(
        select(accounts, state.first_day, state.last_synced_date, state.synced_until_utc)
        .join_from(accounts, sync_state, state.account_id == accounts.c.id, isouter=True)
        .where(accounts.c.label == label)
    ).one_or_none()
    if account is None or account.first_day is None:
        _require_own_token(connection, label, binding, has_rows=False)
    if account is None:
        return BindingRemarks(warning=_duplicate_token_warning(connection, label, binding))
    if problem := interrupted_change(account):
        raise ConfigError(problem)
    _require_form(account, binding.form)
    _require_zone(account, binding.zone)
    changes: dict[str, Any] = {}
    notices: list[str] = []
    warning = None
    if binding.zone and account.timezone is None:
        changes["timezone"] = binding.zone.key
    if binding.fingerprint not in {None, account.token_fingerprint}:
        changes["token_fingerprint"] = binding.fingerprint
        warning = _duplicate_token_warning(connection, label, binding)
        if account.token_fingerprint:
            _require_own_token(connection, label, binding, has_rows=True)
            notices.append(
                "the token differs from that of the last run; the account uses the new one once the vendor accepts it"
            )
    stored = PriceTerms(account.currency, account.vat_basis_points, account.vat)
    if binding.terms not in {None, stored}:
        changes |= binding.terms._asdict()
        notices.append(f"prices are in {binding.terms} from now on (before: {stored}); closed months keep theirs")
    return BindingRemarks("; ".join(notices) or None, warning, changes)


def interrupted_change(account: Any) -> str | None:
    """The interrupted deletion or zone change of an account with its remedy, for an error; None if there is none.

    Args:
        account: A row with the account's `label`, `deletion_started_at` and `timezone_to`.
    """
    label = shlex.quote(account.label)
    if account.deletion_started_at is not None:
        return (
            f"the account {account.label} is partly deleted; to delete the remaining rows, run: "
            f"billing-etl account delete {label}"
        )
    if account.timezone_to is not None:
        return (
            f"the times of the account {account.label} are partly converted; to convert the remaining rows, run: "
            f"billing-etl account set-timezone {label} {account.timezone_to}"
        )
    return None


def store_binding(connection: Connection, account_id: int, remarks: BindingRemarks) -> str | None:
    """Store the zone of an account that has none yet, and changed price terms.

    Returns:
        The fingerprint of a changed token, for `store_fingerprint`; else None.
    """
    changes = dict(remarks.changes)
    fingerprint: str | None = changes.pop("token_fingerprint", None)
    if changes:
        connection.execute(update(accounts).where(accounts.c.id == account_id).values(changes))
    return fingerprint


def store_fingerprint(connection: Connection, account_id: int, fingerprint: str) -> None:
    """Bind an account to a changed token, which the vendor has accepted.

    After a refused token, the right one would pass for unknown under another label.
    """
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(token_fingerprint=fingerprint))


def first_binding(binding: Binding) -> dict[str, Any]:
    """Columns of a new account."""
    form = binding.form
    return {
        "phones": form.phones,
        "phones_key_id": form.key_id or None,
        "codes": form.codes,
        "token_fingerprint": binding.fingerprint,
        "timezone": binding.zone.key if binding.zone else None,
        **(binding.terms._asdict() if binding.terms else {}),
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


def _require_own_token(connection: Connection, label: str, binding: Binding, *, has_rows: bool) -> None:
    sharing = binding.token_labels
    others = [other for other in _labels_with_token(connection, label, binding) if not {label, other} <= sharing]
    if others:
        owner = similar_names(label, others, similarity=0.0)[0]
        raise BindingError(
            "account", label, configured=label, stored=owner, in_file=label in binding.labels,
            may_be_exchanged={label, owner} <= binding.labels, has_rows=has_rows,
        )  # fmt: skip


def _duplicate_token_warning(connection: Connection, label: str, binding: Binding) -> str | None:
    others = _labels_with_token(connection, label, binding)
    if not others:
        return None
    return f"the accounts {', '.join(others)} and {label} have the same token: each charge is stored under both"


def _require_form(account: Row[Any], form: PrivacyFormat) -> None:
    for field_name, configured, stored in (
        ("phones", form.phones, account.phones),
        ("phones_key_file", form.key_id, account.phones_key_id or ""),
        ("codes", form.codes, account.codes),
    ):
        if configured != stored:
            raise BindingError(field_name, account.label, configured, stored)


def _require_zone(account: Row[Any], zone: ZoneInfo | None) -> None:
    if zone is None or account.timezone == zone.key:
        return
    if account.timezone is None and (
        # No zone stored yet: the end of the watermark's day in UTC reveals the zone of the last run.
        account.last_synced_date is None or account.synced_until_utc == end_of_day(account.last_synced_date, zone)
    ):
        return
    raise BindingError("timezone", account.label, zone.key, account.timezone)
