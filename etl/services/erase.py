"""Forget one person: in one transaction under the account's lock, like a run that asks the vendor nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import select

from etl import signals
from etl.config.schema import Settings
from etl.db.bindings import Binding, require_binding
from etl.db.engine import database_exists, new_engine, read_connection
from etl.db.erase import ErasureSubject, erase_person
from etl.db.errors import translate_errors
from etl.db.lock import advisory_lock
from etl.db.migrate import require_schema
from etl.db.run_store import find_account, next_fence
from etl.db.tables import accounts
from etl.errors import DatabaseError
from etl.pii import PhoneNumber
from etl.services.context import build_phone_policy, utc_now
from etl.transform.fields import FieldError, parse_phone

_SPELLED_NUMBER: Final = re.compile(r"[+\d\s()\[\]./\u2010-\u2015\u2212-]+")
_DIGITS: Final = range(3, 16)
"""The longest number of the world has fifteen (ITU-T E.164)."""


@dataclass(frozen=True, slots=True)
class ErasureResult:
    """What was removed from one account.

    Attributes:
        rows: Changed rows by table.
        masked: Phones are stored masked: others with the same mask are forgotten too.
        unchecked_accounts: Accounts of the database that were not looked at, because no settings were given for them.
    """

    account: str
    rows: dict[str, int] = field(default_factory=dict)
    masked: bool = False
    unchecked_accounts: tuple[str, ...] = ()


def normalise_number(text: str) -> str:
    """A number as a person types it, in canonical form.

    Raises:
        ValueError: It is no phone number. The text does not repeat it.
    """
    try:
        canonical = parse_phone(text)
    except FieldError:
        canonical = ""
    if not _SPELLED_NUMBER.fullmatch(canonical) or len(re.sub(r"\D", "", canonical)) not in _DIGITS:
        raise ValueError("a phone number of 3 to 15 digits, like +7 900 000-00-00")
    return canonical


def erase_number(
    settings: Settings, canonical: str, *, wait: float, clock: Callable[[], datetime] = utc_now
) -> ErasureResult:
    """Remove whoever has the number from an account.

    Args:
        settings: Of the account.
        canonical: The number.
        wait: Seconds to wait for a run of the account.
        clock: The present moment, aware.

    Raises:
        ConfigError: The account is stored in another form than the settings say: the number would not be found.
        ConcurrentRunError: A run of the account is under way.
        DatabaseError: Nothing is removed.
    """
    engine = new_engine(settings.database_url)
    if not database_exists(engine):
        raise DatabaseError("there is no database yet: nothing to forget")
    protection = build_phone_policy(settings)
    person = ErasureSubject(PhoneNumber(canonical), frozenset(map(protection.phone, _spelling_variants(canonical))))
    with translate_errors(), advisory_lock(engine, f"account-{settings.account}", wait=wait):
        with read_connection(engine) as connection:
            require_schema(connection)
            account_id = find_account(connection, settings.account)
            if account_id is not None:
                require_binding(connection, settings.account, Binding(protection.form))
            labels = connection.scalars(select(accounts.c.label).order_by(accounts.c.label)).all()
        rows: dict[str, int] = {}
        if account_id is not None:
            with signals.deferred(), engine.begin() as connection:
                # A run that was paused past its lock has the number in memory: from here on it may not write.
                next_fence(connection, account_id)
                rows = erase_person(connection, account_id, person, clock())
    masked = protection.form.phones == "masked"
    return ErasureResult(settings.account, rows, masked, tuple(label for label in labels if label != settings.account))


def _spelling_variants(canonical: str) -> list[str]:
    """What the vendor may have called the number: only Russian ones have one spelling in the database."""
    digits = re.sub(r"\D", "", canonical)
    return [parse_phone(spelling) for spelling in (canonical, digits, f"+{digits}", f"00{digits}")]
