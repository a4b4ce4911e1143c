"""The balance proof: what the balance did between two snapshots, held against what is on record.

`prove` is the view `balance_proof` again, for one account and with what the view does not show: which snapshots a run
took at its two ends. From that follows how sure a finding is.

Both snapshots of a run carry the spend on record at its end. So the one before it has all charges made up to then on
record, and perhaps some that were made while the run fetched; the one after it lacks those made after their day had
been fetched. What the balance lost during the run bounds both. A charge is unexplained only where records would have
to be missing however these fell; a credit only where it is more than they come to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Final

from sqlalchemy import Connection

from etl.load.balance import Snapshot, TopUp, read_snapshots, read_top_ups

LOOKS_BACK: Final = timedelta(days=30)
"""How long something unexplained is spoken of. The view has all of it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two consecutive snapshots, as a row of `balance_proof`.

    Attributes:
        charged: The growth of the spend on record.
        unexplained: `closing - (opening + top_ups - charged)`.
        of_one_run: Whether they are the two ends of one run.
        under_way: What of a credit charges may be that were made while the runs at both ends fetched.
    """

    opened_at: datetime
    closed_at: datetime
    opening: Decimal
    charged: Decimal
    top_ups: Decimal
    closing: Decimal
    unexplained: Decimal
    of_one_run: bool = False
    under_way: Decimal = Decimal(0)

    @property
    def finding(self) -> str:
        """In the words of the view."""
        if not self.unexplained:
            return "explained"
        return "unexplained credit" if self.unexplained > 0 else "unexplained charge"

    @property
    def is_certain(self) -> bool:
        """Whether charges under way cannot be what is unexplained."""
        if self.unexplained > 0:
            return self.unexplained > self.under_way
        return self.unexplained < 0 and not self.of_one_run

    @property
    def is_of_records(self) -> bool:
        """Whether it is a credit that charges on record make by themselves, without a rise of the balance."""
        return 0 < self.unexplained <= self.charged


@dataclass(frozen=True, slots=True)
class BalanceNews:
    """What is to be said of an account's balance.

    Attributes:
        balance: The newest one known, as the vendor said it.
        limit: BILLING_LOW_BALANCE.
        unexplained: Pairs that records and top-ups do not explain, the oldest first.
    """

    balance: Decimal
    taken_at: datetime
    limit: Decimal | None = None
    unexplained: tuple[Pair, ...] = ()

    @property
    def is_low(self) -> bool:
        """Whether somebody should pay in."""
        return self.limit is not None and self.balance < self.limit

    @property
    def is_a_warning(self) -> bool:
        """Whether a person should look: money is short, or went where no record tells."""
        return self.is_low or any(pair.unexplained < 0 for pair in self.unexplained)


def prove(snapshots: Sequence[Snapshot], top_ups: Sequence[TopUp]) -> list[Pair]:
    """The pairs of consecutive snapshots of one account, given in the order in which they were taken."""
    before = {one.run_id: one.balance for one in snapshots if one.moment == "before"}
    lost = {
        one.run_id: max(before[one.run_id] - one.balance, Decimal(0))
        for one in snapshots
        if one.moment == "after" and one.run_id in before
    }
    pairs = []
    for opening, closing in pairwise(snapshots):
        paid_in = sum((one.amount for one in top_ups if opening.taken_at < one.at <= closing.taken_at), Decimal(0))
        charged = closing.recorded_spend - opening.recorded_spend
        of_one_run = opening.run_id is not None and opening.run_id == closing.run_id
        pairs.append(
            Pair(
                opening.taken_at, closing.taken_at, opening.balance, charged, paid_in, closing.balance,
                unexplained=closing.balance - (opening.balance + paid_in - charged),
                of_one_run=of_one_run,
                under_way=Decimal(0) if of_one_run else sum(
                    (lost.get(one.run_id, Decimal(0)) for one in (opening, closing)), Decimal(0)
                ),
            )
        )  # fmt: skip
    return pairs


def find_unexplained(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs that a person should know of, in their order.

    Without a charge that came on record later: a credit of the same amount follows it, and comes from the records, not
    from a rise of the balance.
    """
    found: list[Pair] = []
    for pair in pairs:
        if not pair.is_certain:
            continue
        earlier = next((one for one in found if one.unexplained == -pair.unexplained), None)
        if pair.is_of_records and earlier:
            found.remove(earlier)
        else:
            found.append(pair)
    return found


def read_proof(connection: Connection, account_id: int, now: datetime) -> list[Pair]:
    """The account's pairs of the last LOOKS_BACK."""
    snapshots = read_snapshots(connection, account_id, since=now - LOOKS_BACK)
    return prove(snapshots, read_top_ups(connection, account_id, snapshots))


def news_of(newest: Sequence[Snapshot], pairs: Sequence[Pair], limit: Decimal | None) -> BalanceNews | None:
    """What there is to be said, from the newest snapshot and some pairs; None where there is none yet."""
    if not newest:
        return None
    return BalanceNews(newest[-1].balance, newest[-1].taken_at, limit, tuple(find_unexplained(pairs)))


def read_news(connection: Connection, account_id: int, now: datetime, limit: Decimal | None) -> BalanceNews | None:
    """The newest balance, and what of the last LOOKS_BACK is unexplained; None before the first snapshot."""
    pairs = read_proof(connection, account_id, now)
    return news_of(read_snapshots(connection, account_id, last=1), pairs, limit)


def find_credit(pairs: Sequence[Pair], amount: Decimal, begins: datetime, ends: datetime) -> Pair | None:
    """The newest pair in which a top-up of that amount, paid in between two moments, would explain something."""
    return next(
        (
            pair
            for pair in reversed(pairs)
            if pair.unexplained >= amount and pair.opened_at < ends and pair.closed_at >= begins
        ),
        None,
    )
