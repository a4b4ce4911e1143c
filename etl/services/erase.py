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
from etl.db.engine import database_errors, database_exists, open_engine, reading
from etl.db.erase import Person, forget_person
from etl.db.ledger import find_account, take_fence
from etl.db.lock import hold_lock
from etl.db.migrate import require_schema
from etl.db.tables import accounts
from etl.errors import DatabaseFailed
from etl.pii import Number
from etl.services.sync import protection_of, utc_now
from etl.transform.fields import FieldError, normalise_phone

_SPELLED: Final = re.compile(r"[+\d\s()\[\]./\u2010-\u2015\u2212-]+")
_DIGITS: Final = range(3, 16)
"""The longest number of the world has fifteen (ITU-T E.164)."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was removed from one account.

    Attributes:
        rows: Changed rows by table.
        masked: Phones are stored masked: others with the same mask are forgotten too.
        elsewhere: Accounts of the database that were not looked at, because no settings were given for them.
    """

    account: str
    rows: dict[str, int] = field(default_factory=dict)
    masked: bool = False
    elsewhere: tuple[str, ...] = ()


def canonical_number(text: str) -> str:
    """A number as a person types it, in canonical form.

    Raises:
        ValueError: It is no phone number. The text does not repeat it.
    """
    try:
        canonical = normalise_phone(text)
    except FieldError:
        canonical = ""
    if not _SPELLED.fullmatch(canonical) or len(re.sub(r"\D", "", canonical)) not in _DIGITS:
        raise ValueError("a phone number of 3 to 15 digits, like +7 900 000-00-00")
    return canonical


def forget_number(
    settings: Settings, canonical: str, *, wait: float, clock: Callable[[], datetime] = utc_now
) -> Forgotten:
    """Remove whoever has the number from an account.

    Args:
        settings: Of the account.
        canonical: The number.
        wait: Seconds to wait for a run of the account.
        clock: The present moment, aware.

    Raises:
        ConfigError: The account is stored in another form than the settings say: the number would not be found.
        RunElsewhere: A run of the account is under way.
        DatabaseFailed: Nothing is removed.
    """
    engine = open_engine(settings.database_url)
    if not database_exists(engine):
        raise DatabaseFailed("there is no database yet: nothing to forget")
    protection = protection_of(settings)
    person = Person(Number(canonical), frozenset(map(protection.phone, _spellings(canonical))))
    with database_errors(), hold_lock(engine, f"account-{settings.account}", wait=wait):
        with reading(engine) as connection:
            require_schema(connection)
            account_id = find_account(connection, settings.account)
            if account_id is not None:
                require_binding(connection, settings.account, Binding(protection.form))
            labels = connection.scalars(select(accounts.c.label).order_by(accounts.c.label)).all()
        rows: dict[str, int] = {}
        if account_id is not None:
            with signals.held_back(), engine.begin() as connection:
                # A run that was paused past its lock has the number in memory: from here on it may not write.
                take_fence(connection, account_id)
                rows = forget_person(connection, account_id, person, clock())
    masked = protection.form.phones == "masked"
    return Forgotten(settings.account, rows, masked, tuple(label for label in labels if label != settings.account))


def _spellings(canonical: str) -> list[str]:
    """What the vendor may have called the number: only Russian ones have one spelling in the database."""
    digits = re.sub(r"\D", "", canonical)
    return [normalise_phone(spelling) for spelling in (canonical, digits, f"+{digits}", f"00{digits}")]
