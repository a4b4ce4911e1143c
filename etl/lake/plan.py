"""Which days of which accounts a commit writes. Pure.

A cursor records how far an account is copied. It belongs to one account of one database: an account that was deleted
and fetched again has the same label, and revisions that start again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple

from etl.date_ranges import DateRange, split_into_windows
from etl.day_totals import DayChange

ROWS_PER_COMMIT: Final = 500_000
ACCOUNTS_PER_COMMIT: Final = 200
"""A commit rewrites the table's metadata: hundreds of small accounts share one."""


class Cursor(NamedTuple):
    """The state of an account in the lake.

    Attributes:
        database: Fingerprint of the database's address, without user and password.
        account_id: `accounts.id`.
        created_at: `accounts.created_at`: SQLite gives the id of a deleted account to the next one.
        revision: The last revision that the lake has.
    """

    database: str
    account_id: int
    created_at: str
    revision: int


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account of the database, and its days that the lake has not.

    Attributes:
        cursor: What the lake has after these changes.
        from_scratch: The lake has none of this account, or rows of another account of that label.
        renamed_from: The label under which the lake has this account.
        changes: The days to replace.
    """

    label: str
    cursor: Cursor
    from_scratch: bool
    changes: Sequence[DayChange]
    renamed_from: str | None = None

    @property
    def is_current(self) -> bool:
        """Whether the lake has everything."""
        return not (self.changes or self.from_scratch or self.renamed_from)

    def ranges(self) -> list[DateRange]:
        """The changed days that have rows, as ranges, in order."""
        days = sorted(change.day for change in self.changes if not change.purged)
        return split_into_windows(None, days, size=len(days)) if days else []


def continues(cursor: Cursor | None, account: Cursor) -> bool:
    """Whether a cursor of the lake belongs to this account and its present history."""
    return cursor is not None and cursor[:-1] == account[:-1] and cursor.revision <= account.revision


def label_before(cursors: Mapping[str, Cursor], label: str, account: Cursor) -> str | None:
    """The other label under which the lake has this account; None unless it was renamed."""
    return next((other for other, cursor in cursors.items() if other != label and continues(cursor, account)), None)


def deleted_labels(cursors: Mapping[str, Cursor], database: str, known: Iterable[str]) -> list[str]:
    """Labels of the lake whose accounts this database had, and no longer has."""
    kept = set(known)
    return [label for label, cursor in cursors.items() if cursor.database == database and label not in kept]


def group_commits(accounts: Iterable[AccountState]) -> Iterator[list[AccountState]]:
    """Group accounts into commits: many small ones, or a large one."""
    group: list[AccountState] = []
    rows = 0
    for account in accounts:
        own = sum(change.records for change in account.changes if not change.purged)
        if group and (rows + own > ROWS_PER_COMMIT or len(group) == ACCOUNTS_PER_COMMIT):
            yield group
            group, rows = [], 0
        group.append(account)
        rows += own
    if group:
        yield group


def day_bounds_of(changes: Iterable[DayChange]) -> list[tuple[date, date]]:
    """First and last day of each run of consecutive changed days, purged ones included."""
    days = sorted({change.day for change in changes})
    return [(window.first, window.last) for window in split_into_windows(None, days, size=len(days))] if days else []
