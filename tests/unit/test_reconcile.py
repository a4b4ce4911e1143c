"""Reconciliation of the balance with recorded spend, also with charges in progress."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from etl.reconcile import (
    BalanceSnapshot,
    BalanceSummary,
    Restated,
    TopUp,
    find_matching_credit,
    reconcile,
    restated_periods,
    summarise_balance,
    unexplained_periods,
)

MIDNIGHT = datetime(2026, 3, 11, tzinfo=UTC)


def hour(number):
    return MIDNIGHT + timedelta(hours=number)


def run(number, before, after, spend):
    """The two snapshots of a run that starts at that hour and takes one hour."""
    return [
        BalanceSnapshot(hour(number), Decimal(before), Decimal(spend), number, "before"),
        BalanceSnapshot(hour(number + 1), Decimal(after), Decimal(spend), number, "after"),
    ]


def unexplained(snapshots, top_ups=()):
    return [str(pair.unexplained) for pair in unexplained_periods(reconcile(snapshots, top_ups))]


def test_recorded_charges_are_explained():
    assert unexplained([*run(0, "100", "100", "0"), *run(24, "97.5", "97.5", "2.5")]) == []


def test_a_charge_without_a_record_is_found_between_two_runs():
    pairs = unexplained_periods(reconcile([*run(0, "100", "100", "0"), *run(24, "92.5", "92.5", "2.5")], []))
    assert [(pair.opened_at, pair.closed_at, pair.unexplained, pair.finding) for pair in pairs] == [
        (hour(1), hour(24), Decimal("-5.0"), "unexplained charge")
    ]


def test_a_top_up_explains_a_rise_and_no_charge_of_another_night():
    nights = [*run(0, "100", "100", "0"), *run(24, "95", "95", "0"), *run(48, "595", "595", "0")]
    assert unexplained(nights) == ["-5", "500"]
    assert unexplained(nights, [TopUp(hour(30), Decimal(500))]) == ["-5"]
    assert unexplained(nights, [TopUp(hour(48), Decimal(500))]) == ["-5"], "at the time of the snapshot"
    assert unexplained(nights, [TopUp(hour(24), Decimal(500))]) == ["-505", "500"], "a night too early"


def test_charges_made_during_a_run_are_no_finding():
    # Of 0.4 charged during each run 0.2 are recorded at its end, the rest by the next run.
    busy = [*run(0, "100", "99.6", "0.2"), *run(24, "89.6", "89.2", "10.6"), *run(48, "79.2", "78.8", "21.0")]
    assert {pair.finding for pair in reconcile(busy, [])} == {"unexplained charge", "unexplained credit"}
    assert unexplained(busy) == []


def test_a_hidden_charge_is_found_on_a_busy_account():
    assert unexplained([*run(0, "100", "99.6", "0.2"), *run(24, "84.6", "84.2", "10.6")]) == ["-4.6"]


def test_a_top_up_during_a_run_is_found():
    assert unexplained(run(0, "100", "599.6", "0.2")) == ["499.6"]


def test_a_charge_recorded_later_is_no_longer_reported():
    nights = [*run(0, "100", "100", "0"), *run(24, "95", "95", "0"), *run(48, "95", "95", "5")]
    assert unexplained(nights[:4]) == ["-5"]
    assert unexplained(nights) == []


def test_an_equal_rise_of_the_balance_does_not_settle_a_charge():
    assert unexplained([*run(0, "100", "100", "0"), *run(24, "95", "95", "0"), *run(48, "100", "100", "0")]) == [
        "-5",
        "5",
    ]


def proof(*snapshots, top_ups=()):
    """One snapshot an hour: balance, recorded spend, restated spend, unproven days."""
    taken = [
        BalanceSnapshot(hour(number), Decimal(balance), Decimal(spend), None, None, restated and Restated(
            max(Decimal(restated), Decimal(0)), min(Decimal(restated), Decimal(0))
        ), unproven)
        for number, (balance, spend, restated, unproven) in enumerate(snapshots)
    ]  # fmt: skip
    return reconcile(taken, top_ups)


def findings(pairs):
    return [(str(pair.carried), str(pair.restated), str(pair.unexplained), pair.finding) for pair in pairs]


WAITING = ("0", "0", "0", "waits for days")


def test_a_suspect_and_then_accepted_day_leaves_nothing_unexplained():
    # The vendor drops a day of 35; the balance rises before the records change.
    pairs = proof(("100", "50", "0", 0), ("135", "50", "0", 1), ("133", "52", "0", 1), ("132", "18", "-35", 0))
    assert findings(pairs) == [WAITING, WAITING, ("35", "0", "0", "explained")]
    assert unexplained_periods(pairs) == restated_periods(pairs) == []


def test_withdrawn_records_that_stay_charged_are_restated_and_no_charge():
    pairs = proof(("100", "50", "0", 0), ("100", "50", "0", 1), ("99", "16", "-35", 0))
    assert findings(pairs) == [WAITING, ("0", "-35", "0", "restated")]
    assert ([pair.restated for pair in restated_periods(pairs)], unexplained_periods(pairs)) == ([-35], [])


def test_a_suspect_day_that_recovers_leaves_no_finding():
    pairs = proof(("100", "50", "0", 0), ("135", "50", "0", 1), ("99", "51", "0", 0))
    assert findings(pairs)[-1] == ("35", "0", "0", "explained")


def test_a_hidden_charge_and_a_top_up_are_found_once_the_suspect_day_is_settled():
    pairs = proof(("100", "50", "0", 0), ("135", "50", "0", 1), ("130", "15", "-35", 0))
    assert findings(pairs)[-1] == ("35", "0", "-5", "unexplained charge")
    snapshots = ("100", "50", "0", 0), ("635", "50", "0", 1), ("635", "15", "-35", 0)
    assert findings(proof(*snapshots))[-1][2:] == ("500", "unexplained credit")
    assert findings(proof(*snapshots, top_ups=[TopUp(hour(1), Decimal(500))]))[-1][2:] == ("0", "explained")


@pytest.mark.parametrize(
    ("balance", "restated", "left", "unexplained"),
    [
        ("100", "-35", "-35", "0"),  # not followed
        ("135", "-35", "0", "0"),  # followed
        ("95", "-35", "-35", "-5"),  # not followed, and a charge besides
        ("110", "-35", "-25", "0"),  # followed by the smaller part
        ("130", "-35", "0", "-5"),  # followed, and a charge besides
        ("635", "-35", "0", "500"),  # followed, and a top-up
        ("100", "35", "35", "0"),
        ("90", "35", "25", "0"),
        ("110", "35", "35", "10"),
        ("65", "35", "0", "0"),
        ("600", "35", "0", "535"),  # a top-up is not made smaller
        ("60", "35", "0", "-5"),
        ("100", None, "0", "-35"),  # a snapshot of an older version
    ],
)
def test_amounts_explained_by_restated_days_are_neither_charge_nor_credit(balance, restated, left, unexplained):
    (pair,) = proof(("100", "50", restated and "0", 0), (balance, str(50 + int(restated or -35)), restated, 0))
    assert (str(pair.restated), str(pair.unexplained)) == (left, unexplained)


def test_increased_days_do_not_offset_decreased_ones():
    taken = [
        BalanceSnapshot(hour(0), Decimal(100), Decimal(50), restated=Restated()),
        BalanceSnapshot(hour(1), Decimal(99), Decimal(16), restated=Restated(Decimal(1), Decimal(-35))),
    ]
    assert findings(reconcile(taken, [])) == [("0", "-35", "0", "restated")]


@pytest.mark.parametrize("late", [True, False])
def test_balance_and_records_that_follow_each_other_settle(late):
    """A day dropped long ago is found only by a deep sync: balance first. Or the vendor pays back later."""
    money, records = ("135", "50", "0", 0), ("100", "15", "-35", 0)
    pairs = proof(("100", "50", "0", 0), records if late else money, ("135", "15", "-35", 0))
    assert unexplained_periods(pairs) == restated_periods(pairs) == []


def test_nothing_is_unexplained_while_the_proof_waits():
    pairs = proof(("100", "50", "0", 0), ("95", "50", "0", 0))
    assert summarise_balance(MIDNIGHT, Decimal(95), None, pairs).unexplained
    summary = summarise_balance(MIDNIGHT, Decimal(95), None, pairs, [date(2026, 3, 4), date(2026, 3, 2)])
    assert (summary.unexplained, summary.restated, summary.waits_for) == ((), (), (date(2026, 3, 2), date(2026, 3, 4)))


@pytest.mark.parametrize(
    ("amount", "begins", "ends", "found"),
    [
        ("500", 0, 99, 48),
        ("499.99", 0, 99, 48),
        ("500.01", 0, 99, None),
        ("200", 0, 99, 48),
        ("200", 0, 24, 24),
        ("200", 0, 1, None),
        ("500", 49, 99, None),
    ],
)
def test_a_top_up_without_a_time_belongs_to_the_newest_matching_rise(amount, begins, ends, found):
    pairs = reconcile([*run(0, "0", "0", "0"), *run(24, "200", "200", "0"), *run(48, "700", "700", "0")], [])
    pair = find_matching_credit(pairs, Decimal(amount), hour(begins), hour(ends))
    assert (pair and pair.closed_at) == (hour(found) if found else None)


def test_a_balance_is_low_only_below_the_limit():
    def is_low(balance, limit):
        return BalanceSummary(Decimal(balance), MIDNIGHT, limit and Decimal(limit)).is_low

    assert [is_low("99.999999", "100"), is_low("100", "100"), is_low("-5", None), is_low("-5", "-4")] == [
        True,
        False,
        False,
        True,
    ]
