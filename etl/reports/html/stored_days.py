"""The stored days of each account, by the rows of the query `calendar`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class AccountDays:
    """The stored days of an account.

    Attributes:
        spend: Spend of each stored day that is over, also of days without charges.
        first: The first day, which may be missing between stored ones; None without any.
        last: The last day, which may be missing or not over; None without any.
        is_retired: Whether no run fetches the account any more: no day after `last` is missing.
    """

    spend: Mapping[date, Decimal]
    first: date | None
    last: date | None
    is_retired: bool

    def lacks(self, day: date) -> bool:
        """Whether a day from `first` on is not stored, or was not over."""
        return self.first is not None and day >= self.first and day not in self.spend

    def has_all(self, first: date, end: date) -> bool:
        """Whether each day from `first` to `end` is stored and over; of a retired account up to its last one."""
        if self.is_retired:
            end = min(end, self.last or date.min)
        return all(first + _DAY * n in self.spend for n in range((end - first).days + 1))


def stored_days(
    calendar: Iterable[Mapping[str, Any]],
    labels: Sequence[str],
    retired: AbstractSet[str],
    purged: AbstractSet[tuple[str, date]] = frozenset(),
) -> list[AccountDays]:
    """The stored days of accounts.

    Args:
        calendar: Rows of the query `calendar`.
        labels: The accounts.
        retired: Those of them that are retired.
        purged: Accounts and days to leave out.
    """
    by_account: dict[str, list[Mapping[str, Any]]] = {label: [] for label in labels}
    for row in calendar:
        by_account[row["account"]].append(row)
    return [
        AccountDays(
            spend={
                row["day"]: row["spend"]
                for row in rows
                if row["day_state"] not in {"missing", "open"} and (label, row["day"]) not in purged
            },
            first=min((row["day"] for row in rows), default=None),
            last=max((row["day"] for row in rows), default=None),
            is_retired=label in retired,
        )
        for label, rows in by_account.items()
    ]
