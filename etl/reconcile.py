"""The balance proof: what the balance did between two snapshots, held against what is on record.

`reconcile` computes the view `balance_proof` for one account, and what the view does not show: which snapshots a run
took at its two ends. From that follows how sure a finding is.

Both snapshots of a run carry the spend on record at its end. So the one before it has all charges made up to then on
record, and perhaps some that were made while the run fetched; the one after it lacks those made after their day had
been fetched. What the balance lost during the run bounds both. A charge is unexplained only where records would have
to be missing however these fell; a credit only where it is more than they come to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Final

REPORTED_HISTORY: Final = timedelta(days=30)
"""How long something unexplained is spoken of. The view has all of it."""
WAITS: Final = "waits for days"
"""The classification of a period whose end has unproven days."""


@dataclass(frozen=True, slots=True)
class Restated:
    """By how much closed days changed: those whose spend rose between two snapshots, and those whose spend fell.

    Attributes:
        down: At most zero.
        journal_id: Of the last line of the journal that is counted.
    """

    up: Decimal = Decimal(0)
    down: Decimal = Decimal(0)
    journal_id: int = 0


@dataclass(frozen=True, slots=True)
class BalanceSnapshot:
    """The balance at a moment, and the spend on record that belongs to it.

    Attributes:
        run_id: Of the run that took it; None where a person asked.
        moment: `before` or `after` that run.
        restated: By how much closed days changed so far; None where that was not counted yet.
        unproven_days: Days that were suspect, or over and not whole: `recorded_spend` is not the vendor's.
    """

    taken_at: datetime
    balance: Decimal
    recorded_spend: Decimal
    run_id: int | None = None
    moment: str | None = None
    restated: Restated | None = None
    unproven_days: int = 0


@dataclass(frozen=True, slots=True)
class TopUp:
    """Money paid in, as a person told of it; the id is None until it is stored."""

    at: datetime
    amount: Decimal
    id: int | None = None


@dataclass(frozen=True, slots=True)
class ReconciliationPeriod:
    """Two consecutive snapshots, as a row of `balance_proof`.

    Attributes:
        charged: The growth of the spend on record.
        carried: What the pairs before it left open while days were unproven.
        restated: The part of `charged` that restated days make, and that the balance did not follow.
        unexplained: `closing - (opening + top_ups - charged) + carried - restated`.
        waits: At its end days were unproven: nothing is known until none are. Then `carried`, `restated` and
            `unexplained` are zero.
        same_run: Whether they are the two ends of one run.
        in_flight: What of a credit charges may be that were made while the runs at both ends fetched.
    """

    opened_at: datetime
    closed_at: datetime
    opening: Decimal
    charged: Decimal
    top_ups: Decimal
    closing: Decimal
    unexplained: Decimal
    same_run: bool = False
    in_flight: Decimal = Decimal(0)
    carried: Decimal = Decimal(0)
    restated: Decimal = Decimal(0)
    waits: bool = False

    @property
    def finding(self) -> str:
        """In the words of the view."""
        if self.waits:
            return WAITS
        if not self.unexplained:
            return "restated" if self.restated else "explained"
        return "unexplained credit" if self.unexplained > 0 else "unexplained charge"

    @property
    def is_certain(self) -> bool:
        """Whether charges under way cannot be what is unexplained."""
        if self.unexplained > 0:
            return self.unexplained > self.in_flight
        return self.unexplained < 0 and not self.same_run

    @property
    def explained_by_late_records(self) -> bool:
        """Whether it is a credit that charges on record make by themselves, without a rise of the balance."""
        return 0 < self.unexplained <= self.charged

    @property
    def remainder(self) -> Decimal:
        """What a later pair may settle."""
        return self.unexplained + self.restated


@dataclass(frozen=True, slots=True)
class BalanceSummary:
    """What is to be said of an account's balance.

    Attributes:
        balance: The newest one known, as the vendor said it.
        limit: BILLING_LOW_BALANCE.
        unexplained: Pairs that records and top-ups do not explain, the oldest first.
        restated: Pairs with restated days that the balance did not follow, the oldest first.
        waits_for: Days that are suspect, or that no source could show whole. Nothing is unexplained while there is one.
    """

    balance: Decimal
    taken_at: datetime
    limit: Decimal | None = None
    unexplained: tuple[ReconciliationPeriod, ...] = ()
    restated: tuple[ReconciliationPeriod, ...] = ()
    waits_for: tuple[date, ...] = ()

    @property
    def is_low(self) -> bool:
        """Whether somebody should pay in."""
        return self.limit is not None and self.balance < self.limit

    @property
    def needs_attention(self) -> bool:
        """Whether a person should look: money is short, or went where no record tells."""
        return self.is_low or any(pair.unexplained < 0 for pair in self.unexplained)


def reconcile(snapshots: Sequence[BalanceSnapshot], top_ups: Sequence[TopUp]) -> list[ReconciliationPeriod]:
    """The pairs of consecutive snapshots of one account, given in the order in which they were taken.

    While a day is suspect, or not whole, the spend on record is not the vendor's, so that the snapshots of that time
    prove nothing. The first snapshot after it is compared with the last one before it.
    """
    before = {one.run_id: one.balance for one in snapshots if one.moment == "before"}
    lost = {
        one.run_id: max(before[one.run_id] - one.balance, Decimal(0))
        for one in snapshots
        if one.moment == "after" and one.run_id in before
    }

    def paid_in(opening: BalanceSnapshot, closing: BalanceSnapshot) -> Decimal:
        return sum((one.amount for one in top_ups if opening.taken_at < one.at <= closing.taken_at), Decimal(0))

    def difference(opening: BalanceSnapshot, closing: BalanceSnapshot) -> Decimal:
        charged = closing.recorded_spend - opening.recorded_spend
        return closing.balance - (opening.balance + paid_in(opening, closing) - charged)

    pairs = []
    settled = next((one for one in snapshots[:1] if not one.unproven_days), None)
    for opening, closing in pairwise(snapshots):
        amounts = (
            opening.taken_at, closing.taken_at, opening.balance, closing.recorded_spend - opening.recorded_spend,
            paid_in(opening, closing), closing.balance,
        )  # fmt: skip
        of_one_run = opening.run_id is not None and opening.run_id == closing.run_id
        if closing.unproven_days or settled is None:
            pairs.append(ReconciliationPeriod(*amounts, unexplained=Decimal(0), same_run=of_one_run, waits=True))
        else:
            found = difference(settled, closing)
            restated = _not_followed(found, settled, closing)
            pairs.append(
                ReconciliationPeriod(
                    *amounts,
                    unexplained=found - restated,
                    same_run=of_one_run,
                    in_flight=Decimal(0) if of_one_run else sum(
                        (lost.get(one.run_id, Decimal(0)) for one in (settled, closing)), Decimal(0)
                    ),
                    carried=found - difference(opening, closing),
                    restated=restated,
                )
            )  # fmt: skip
        settled = settled if closing.unproven_days else closing
    return pairs


def _not_followed(found: Decimal, opening: BalanceSnapshot, closing: BalanceSnapshot) -> Decimal:
    """The part of a difference that restated days explain.

    The balance followed them or it did not, whichever the difference is nearer to. A credit of twice that and more is a
    top-up, and its whole amount is what was paid in.
    """
    if opening.restated is None or closing.restated is None:
        return Decimal(0)
    rose, fell = closing.restated.up - opening.restated.up, closing.restated.down - opening.restated.down
    if rose < 2 * found and found < 2 * rose:
        return min(found, rose)
    return max(found, fell) if 2 * found < fell < 0 else Decimal(0)


def latest_open_period(pairs: Iterable[ReconciliationPeriod]) -> list[ReconciliationPeriod]:
    """The pairs that a person should know of, in their order.

    Without two that settle each other: of which one changed the records, and the other the balance by the same amount.
    A charge that came on record later is one, money for withdrawn records that came earlier or later another.
    """
    found: list[ReconciliationPeriod] = []
    for pair in pairs:
        if not (pair.is_certain or pair.restated):
            continue
        earlier = next((one for one in found if one.remainder == -pair.remainder), None)
        if earlier and (pair.explained_by_late_records or pair.restated or earlier.restated):
            found.remove(earlier)
        else:
            found.append(pair)
    return found


def unexplained_periods(pairs: Iterable[ReconciliationPeriod]) -> list[ReconciliationPeriod]:
    """Those of `latest_open_period` that neither records nor top-ups explain."""
    return [pair for pair in latest_open_period(pairs) if pair.is_certain]


def restated_periods(pairs: Iterable[ReconciliationPeriod]) -> list[ReconciliationPeriod]:
    """Those of `latest_open_period` with restated days that the balance did not follow."""
    return [pair for pair in latest_open_period(pairs) if pair.restated]


def summarise_balance(
    taken_at: datetime,
    balance: Decimal,
    limit: Decimal | None,
    pairs: Sequence[ReconciliationPeriod],
    waits_for: Iterable[date] = (),
) -> BalanceSummary:
    """What there is to be said of a balance and some pairs. While the proof waits for a day, nothing is unexplained."""
    if days := tuple(sorted(set(waits_for))):
        return BalanceSummary(balance, taken_at, limit, waits_for=days)
    return BalanceSummary(balance, taken_at, limit, tuple(unexplained_periods(pairs)), tuple(restated_periods(pairs)))


def find_matching_credit(
    pairs: Sequence[ReconciliationPeriod], amount: Decimal, begins: datetime, ends: datetime
) -> ReconciliationPeriod | None:
    """The newest pair in which a top-up of that amount, paid in between two moments, would explain something."""
    return next(
        (
            pair
            for pair in reversed(pairs)
            if pair.unexplained >= amount and pair.opened_at < ends and pair.closed_at >= begins
        ),
        None,
    )
