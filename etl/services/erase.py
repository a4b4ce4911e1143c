"""Erasure of one person's data from an account: one transaction under the account's lock."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import select

from etl.config.schema import Settings
from etl.db.accounts import require_account
from etl.db.bindings import Binding, require_binding
from etl.db.erase import ErasureSubject, erase_person
from etl.db.run_store import find_account, next_fence
from etl.db.tables import accounts
from etl.pii import PhoneNumber
from etl.services.account_writer import locked_transaction
from etl.services.context import build_phone_policy, utc_now
from etl.services.database import open_engine
from etl.services.setting_errors import named_settings
from etl.transform.fields import FieldError, parse_phone

_PHONE_CHARACTERS: Final = re.compile(r"[+\d\s()\[\]./\u2010-\u2015\u2212-]+")
_DIGIT_COUNTS: Final = range(3, 16)
"""Accepted numbers of digits; at most 15 by ITU-T E.164."""


@dataclass(frozen=True, slots=True)
class ErasureResult:
    """The result of an erasure from one account.

    Attributes:
        account: Label of the account.
        rows: Number of changed rows by table.
        masked: Whether phones are stored masked; then the rows of other phones with the same mask are erased too.
        unchecked_accounts: Labels of the other accounts in the database.
    """

    account: str
    rows: dict[str, int] = field(default_factory=dict)
    masked: bool = False
    unchecked_accounts: tuple[str, ...] = ()


def normalise_number(text: str) -> str:
    """The canonical form of a phone number that a person typed.

    Raises:
        ValueError: The text is not a phone number. The message does not repeat it.
    """
    try:
        canonical = parse_phone(text)
    except FieldError:
        canonical = ""
    if not _PHONE_CHARACTERS.fullmatch(canonical) or len(re.sub(r"\D", "", canonical)) not in _DIGIT_COUNTS:
        raise ValueError("a phone number of 3 to 15 digits, like +7 900 000-00-00")
    return canonical


def erase_number(
    settings: Settings,
    canonical: str,
    *,
    explicit_account: bool = False,
    wait: float,
    clock: Callable[[], datetime] = utc_now,
) -> ErasureResult:
    """Erase the data of the person with a phone number from an account.

    Args:
        settings: Settings of the account.
        canonical: The phone number in canonical form.
        explicit_account: Whether the command line names the account, which must then exist.
        wait: Seconds to wait for a run of the account.
        clock: The present time, aware.

    Raises:
        ConfigError: The account's phones are stored in another format than that of the settings, in which the number
            would not be found; or the account does not exist.
        ConcurrentRunError: A run of the account is in progress.
        DatabaseError: Nothing is erased.
    """
    policy = build_phone_policy(settings)
    person = ErasureSubject(PhoneNumber(canonical), frozenset(map(policy.phone, _spelling_variants(canonical))))
    rows: dict[str, int] = {}
    engine = open_engine(settings.database_url)
    with locked_transaction(engine, [settings.account], wait=wait) as connection:
        account_id = find_account(connection, settings.account)
        if account_id is None and explicit_account:
            require_account(connection, settings.account)
        if account_id is not None:
            with named_settings():
                require_binding(connection, settings.account, Binding(policy.form))
            # A run that was suspended and has lost its lock still has the number in memory: it may not write.
            next_fence(connection, account_id)
            rows = erase_person(connection, account_id, person, clock())
        labels = connection.scalars(select(accounts.c.label).order_by(accounts.c.label)).all()
    masked = policy.form.phones == "masked"
    return ErasureResult(settings.account, rows, masked, tuple(label for label in labels if label != settings.account))


def _spelling_variants(canonical: str) -> list[str]:
    """Canonical forms of the vendor's possible spellings; only Russian numbers have a single one."""
    digits = re.sub(r"\D", "", canonical)
    return [parse_phone(spelling) for spelling in (canonical, digits, f"+{digits}", f"00{digits}")]
