"""Balance reconciliation: the change of the balance between two snapshots, compared with the recorded spend. Pure.

`reconcile` computes the same as the view `balance_proof` (`etl.db.views`), for the snapshots that it is given;
`tests/integration/test_balance_proof.py` checks that both are equal. It also uses what the view does not show: which
snapshots belong to the same run. This determines whether a classification is certain.

Both snapshots of a run have the recorded spend at its end. The spend of the first one includes all charges up to that
time, and possibly charges made while the run fetched; the spend of the second one lacks charges made after their day
was fetched. The decrease of the balance during the run is an upper bound of both. A charge is unexplained only if
records are missing under every distribution of these charges, a credit only if it exceeds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Final

from etl.amounts import exact_sum

REPORTED_HISTORY: Final = timedelta(days=30)
"""The history in which unexplained amounts are reported. The view has the whole history."""
WAITS: Final = "waits for days"
"""The classification of a period with unproven days at its end: suspect days, or past days not shown to be complete."""


@dataclass(frozen=True, slots=True)
class Restated:
    """Cumulative changes of the spend of closed days.

    Attributes:
        up: Sum of the increases, at least zero.
        down: Sum of the decreases, at most zero.
        journal_id: `restatements.id` of the last entry included.
    """

    up: Decimal = Decimal(0)
    down: Decimal = Decimal(0)
    journal_id: int = 0


@dataclass(frozen=True, slots=True)
class BalanceSnapshot:
    """The balance at a point in time, with the recorded spend to compare it with.

    Attributes:
        recorded_spend: Recorded charges since the day of the first snapshot, plus later changes of older days.
        run_id: The run that took the snapshot; None for the command `balance`.
        moment: `before` or `after` the run.
        restated: Cumulative changes of closed days; None in snapshots of versions that did not record them.
        unproven_days: Number of days whose recorded spend may differ from the vendor's: suspect days, and past days not
            shown to be complete.
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
    """A payment to the account, as entered by a person; `id` is None until it is stored."""

    at: datetime
    amount: Decimal
    id: int | None = None


@dataclass(frozen=True, slots=True)
class ReconciliationPeriod:
    """The period between two consecutive snapshots, as a row of `balance_proof`.

    Attributes:
        opening: The balance at the start.
        charged: Increase of the recorded spend.
        top_ups: Sum of the payments.
        closing: The balance at the end.
        unexplained: `closing - (opening + top_ups - charged) + carried - restated`.
        same_run: Whether both snapshots belong to the same run.
        in_flight: Upper bound of the charges made while the runs at both ends fetched; they look like a credit.
        carried: Difference carried over from earlier periods with unproven days.
        restated: Part of `charged` that comes from restated days and did not change the balance.
        waits: Whether there are unproven days at the end: nothing can be concluded until they are resolved. `carried`,
            `restated` and `unexplained` are zero.
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
        """The classification, as in the view's column `finding`."""
        if self.waits:
            return WAITS
        if not self.unexplained:
            return "restated" if self.restated else "explained"
        return "unexplained credit" if self.unexplained > 0 else "unexplained charge"

    @property
    def is_certain(self) -> bool:
        """Whether charges in flight cannot explain the amount."""
        if self.unexplained > 0:
            return self.unexplained > self.in_flight
        return self.unexplained < 0 and not self.same_run

    @property
    def explained_by_late_records(self) -> bool:
        """Whether it is a credit that comes from newly recorded charges, without an increase of the balance."""
        return 0 < self.unexplained <= self.charged

    @property
    def remainder(self) -> Decimal:
        """The amount that a later period may offset."""
        return self.unexplained + self.restated


@dataclass(frozen=True, slots=True)
class BalanceSummary:
    """The state of an account's balance, for people.

    Attributes:
        balance: The newest known balance.
        taken_at: When the vendor reported it.
        limit: The setting BILLING_LOW_BALANCE.
        unexplained: Periods that records and top-ups do not explain, oldest first.
        restated: Periods with restated days that did not change the balance, oldest first.
        waits_for: Unproven days. While there are any, no period is unexplained.
    """

    balance: Decimal
    taken_at: datetime
    limit: Decimal | None = None
    unexplained: tuple[ReconciliationPeriod, ...] = ()
    restated: tuple[ReconciliationPeriod, ...] = ()
    waits_for: tuple[date, ...] = ()

    @property
    def is_low(self) -> bool:
        """Whether the balance is below the limit."""
        return self.limit is not None and self.balance < self.limit

    @property
    def needs_attention(self) -> bool:
        """Whether the balance is low, or decreased without a record."""
        return self.is_low or bool(self.unexplained_charges)

    @property
    def unexplained_charges(self) -> Decimal:
        """The amount by which the balance decreased without a record."""
        return exact_sum(-period.unexplained for period in self.unexplained if period.unexplained < 0)

    @property
    def unexplained_amount(self) -> Decimal:
        """The charges without a record, as a negative amount; without any, the credits. A credit hides no charge."""
        return -self.unexplained_charges or exact_sum(period.unexplained for period in self.unexplained)


def reconcile(snapshots: Sequence[BalanceSnapshot], top_ups: Sequence[TopUp]) -> list[ReconciliationPeriod]:
    """Return the periods between consecutive snapshots of one account.

    A snapshot with unproven days proves nothing, because its recorded spend may differ from the vendor's. The next
    snapshot without unproven days is compared with the last one before it.

    Args:
        snapshots: In ascending order.
        top_ups: The account's payments, in any order.
    """
    before = {snapshot.run_id: snapshot.balance for snapshot in snapshots if snapshot.moment == "before"}
    decreases = {
        snapshot.run_id: max(before[snapshot.run_id] - snapshot.balance, Decimal(0))
        for snapshot in snapshots
        if snapshot.moment == "after" and snapshot.run_id in before
    }

    def paid_in(opening: BalanceSnapshot, closing: BalanceSnapshot) -> Decimal:
        return exact_sum(top_up.amount for top_up in top_ups if opening.taken_at < top_up.at <= closing.taken_at)

    def difference(opening: BalanceSnapshot, closing: BalanceSnapshot) -> Decimal:
        charged = closing.recorded_spend - opening.recorded_spend
        return closing.balance - (opening.balance + paid_in(opening, closing) - charged)

    periods = []
    settled = next((snapshot for snapshot in snapshots[:1] if not snapshot.unproven_days), None)
    for opening, closing in pairwise(snapshots):
        amounts = (
            opening.taken_at, closing.taken_at, opening.balance, closing.recorded_spend - opening.recorded_spend,
            paid_in(opening, closing), closing.balance,
        )  # fmt: skip
        same_run = opening.run_id is not None and opening.run_id == closing.run_id
        if closing.unproven_days or settled is None:
            periods.append(ReconciliationPeriod(*amounts, unexplained=Decimal(0), same_run=same_run, waits=True))
        else:
            amount = difference(settled, closing)
            restated = _restated_part(amount, settled, closing)
            periods.append(
                ReconciliationPeriod(
                    *amounts,
                    unexplained=amount - restated,
                    same_run=same_run,
                    in_flight=Decimal(0) if same_run else exact_sum(
                        decreases.get(snapshot.run_id, Decimal(0)) for snapshot in (settled, closing)
                    ),
                    carried=amount - difference(opening, closing),
                    restated=restated,
                )
            )  # fmt: skip
        settled = settled if closing.unproven_days else closing
    return periods


def _restated_part(amount: Decimal, opening: BalanceSnapshot, closing: BalanceSnapshot) -> Decimal:
    """The part of a difference that restated days explain.

    Restated days change the balance or they do not, whichever is nearer to the difference. A credit of at least twice
    their sum is a top-up with the whole amount.
    """
    if opening.restated is None or closing.restated is None:
        return Decimal(0)
    increase = closing.restated.up - opening.restated.up
    decrease = closing.restated.down - opening.restated.down
    if increase < 2 * amount and amount < 2 * increase:
        return min(amount, increase)
    return max(amount, decrease) if 2 * amount < decrease < 0 else Decimal(0)


def open_periods(periods: Iterable[ReconciliationPeriod]) -> list[ReconciliationPeriod]:
    """The certain and the restated periods that need an explanation, in their order.

    Two periods that offset each other are left out: one changed the records, the other the balance by the same amount.
    Examples are a charge recorded in a later period, and a refund of withdrawn records in another period.
    """
    unresolved: list[ReconciliationPeriod] = []
    for period in periods:
        if not (period.is_certain or period.restated):
            continue
        earlier = next((other for other in unresolved if other.remainder == -period.remainder), None)
        if earlier and (period.explained_by_late_records or period.restated or earlier.restated):
            unresolved.remove(earlier)
        else:
            unresolved.append(period)
    return unresolved


def unexplained_periods(periods: Iterable[ReconciliationPeriod]) -> list[ReconciliationPeriod]:
    """The open periods that neither records nor top-ups explain."""
    return [period for period in open_periods(periods) if period.is_certain]


def restated_periods(periods: Iterable[ReconciliationPeriod]) -> list[ReconciliationPeriod]:
    """The open periods with restated days that did not change the balance."""
    return [period for period in open_periods(periods) if period.restated]


def summarise_balance(
    taken_at: datetime,
    balance: Decimal,
    limit: Decimal | None,
    periods: Sequence[ReconciliationPeriod],
    waits_for: Iterable[date] = (),
) -> BalanceSummary:
    """Create the summary of a balance. While there are unproven days, no period is unexplained."""
    if days := tuple(sorted(set(waits_for))):
        return BalanceSummary(balance, taken_at, limit, waits_for=days)
    return BalanceSummary(
        balance, taken_at, limit, tuple(unexplained_periods(periods)), tuple(restated_periods(periods))
    )


def find_matching_credit(
    periods: Sequence[ReconciliationPeriod], amount: Decimal, start: datetime, end: datetime
) -> ReconciliationPeriod | None:
    """The newest period in which a top-up of this amount, paid between start and end, would explain a credit."""
    return next(
        (
            period
            for period in reversed(periods)
            if period.unexplained >= amount and period.opened_at < end and period.closed_at >= start
        ),
        None,
    )
