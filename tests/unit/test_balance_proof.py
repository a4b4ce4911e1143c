"""What a balance proves against the spend on record, and what charges under way may make of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from etl.audit.balance import BalanceNews, find_credit, find_unexplained, prove
from etl.load.balance import Snapshot, TopUp

MIDNIGHT = datetime(2026, 3, 11, tzinfo=UTC)


def hour(number):
    return MIDNIGHT + timedelta(hours=number)


def run(number, before, after, spend):
    """The two snapshots of a run that begins at that hour and takes one."""
    return [
        Snapshot(hour(number), Decimal(before), Decimal(spend), number, "before"),
        Snapshot(hour(number + 1), Decimal(after), Decimal(spend), number, "after"),
    ]


def unexplained(snapshots, top_ups=()):
    return [str(pair.unexplained) for pair in find_unexplained(prove(snapshots, top_ups))]


def test_what_is_on_record_is_explained():
    assert unexplained([*run(0, "100", "100", "0"), *run(24, "97.5", "97.5", "2.5")]) == []


def test_a_charge_that_no_record_tells_of_stands_between_two_runs():
    pairs = find_unexplained(prove([*run(0, "100", "100", "0"), *run(24, "92.5", "92.5", "2.5")], []))
    assert [(pair.opened_at, pair.closed_at, pair.unexplained, pair.finding) for pair in pairs] == [
        (hour(1), hour(24), Decimal("-5.0"), "unexplained charge")
    ]


def test_a_top_up_explains_a_rise_and_hides_no_charge_of_another_night():
    nights = [*run(0, "100", "100", "0"), *run(24, "95", "95", "0"), *run(48, "595", "595", "0")]
    assert unexplained(nights) == ["-5", "500"]
    assert unexplained(nights, [TopUp(hour(30), Decimal(500))]) == ["-5"]
    assert unexplained(nights, [TopUp(hour(48), Decimal(500))]) == ["-5"], "the moment at which it was seen"
    assert unexplained(nights, [TopUp(hour(24), Decimal(500))]) == ["-505", "500"], "a night too early"


def test_charges_that_are_made_while_a_run_fetches_are_no_finding():
    # Of 0.4 charged during each run 0.2 are on record at its end; the rest comes with the next one.
    busy = [*run(0, "100", "99.6", "0.2"), *run(24, "89.6", "89.2", "10.6"), *run(48, "79.2", "78.8", "21.0")]
    assert {pair.finding for pair in prove(busy, [])} == {"unexplained charge", "unexplained credit"}
    assert unexplained(busy) == []


def test_a_hidden_charge_is_found_however_busy_the_account_is():
    assert unexplained([*run(0, "100", "99.6", "0.2"), *run(24, "84.6", "84.2", "10.6")]) == ["-4.6"]


def test_a_top_up_in_the_middle_of_a_run_is_found():
    assert unexplained(run(0, "100", "599.6", "0.2")) == ["499.6"]


def test_a_charge_that_comes_on_record_later_is_spoken_of_no_more():
    nights = [*run(0, "100", "100", "0"), *run(24, "95", "95", "0"), *run(48, "95", "95", "5")]
    assert unexplained(nights[:4]) == ["-5"]
    assert unexplained(nights) == []


def test_a_rise_of_the_balance_settles_no_charge_though_it_is_as_large():
    assert unexplained([*run(0, "100", "100", "0"), *run(24, "95", "95", "0"), *run(48, "100", "100", "0")]) == [
        "-5",
        "5",
    ]


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
def test_a_top_up_without_a_time_belongs_to_the_newest_rise_that_it_explains(amount, begins, ends, found):
    pairs = prove([*run(0, "0", "0", "0"), *run(24, "200", "200", "0"), *run(48, "700", "700", "0")], [])
    pair = find_credit(pairs, Decimal(amount), hour(begins), hour(ends))
    assert (pair and pair.closed_at) == (hour(found) if found else None)


def test_a_balance_is_low_below_the_limit_and_not_at_it():
    def is_low(balance, limit):
        return BalanceNews(Decimal(balance), MIDNIGHT, limit and Decimal(limit)).is_low

    assert [is_low("99.999999", "100"), is_low("100", "100"), is_low("-5", None), is_low("-5", "-4")] == [
        True,
        False,
        False,
        True,
    ]
