"""The balance proof of the view `balance_proof` equals that of `reconcile`, which computes the warnings of a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import count
from random import Random

import pytest
from sqlalchemy import insert, text

from etl.db.balance import read_snapshots, read_top_ups, write_snapshots, write_top_up
from etl.db.engine import new_engine
from etl.db.migrate import migrate
from etl.db.tables import accounts
from etl.db.types import UtcTime
from etl.reconcile import BalanceSnapshot, Restated, TopUp, reconcile

START = datetime(2026, 3, 1, tzinfo=UTC)
ACCOUNTS, SNAPSHOTS = 40, 12


def random_moment(random):
    """One of a few times, so that snapshots and top-ups coincide."""
    hours = random.randrange(2 * SNAPSHOTS)
    return START + timedelta(hours=hours, microseconds=hours % 3)


def random_amount(random, *, large):
    """One of few, so that differences lie at the limits of the restated part: half of it, as much, twice as much."""
    if large:
        return Decimal(random.randrange(-(10**17), 10**17)) / 10**6
    millionths = random.choice([0] * 8 + [-1, 1])
    return random.randrange(-2, 4) * Decimal("11.75") + Decimal(millionths) / 10**6


def random_account(random):
    """Snapshots and top-ups of one account; the amounts of every fifth one are as large as its columns allow."""
    amount = partial(random_amount, random, large=random.random() < 0.2)
    snapshots = [
        BalanceSnapshot(
            random_moment(random),
            balance=amount(),
            recorded_spend=amount(),
            run_id=random.choice([None, 1, 2, 3]),
            moment=random.choice([None, "before", "after"]),
            restated=None if random.random() < 0.1 else Restated(abs(amount()), -abs(amount()), 1),
            unproven_days=random.choice([0, 0, 0, 5]),
        )
        for _ in range(SNAPSHOTS)
    ]
    top_ups = [TopUp(random_moment(random), abs(amount())) for _ in range(random.randrange(3))]
    return snapshots, top_ups


@pytest.fixture
def proofs(database_url):
    """A function that stores snapshots and top-ups of a new account, and returns both proofs of it."""
    engine = new_engine(database_url, pooled=True)
    migrate(engine)
    ids = count(1)

    def both(snapshots, top_ups):
        account_id = next(ids)
        label = f"account {account_id}"
        with engine.begin() as connection:
            connection.execute(insert(accounts).values(id=account_id, label=label, created_at=START))
            write_snapshots(connection, account_id, snapshots)
            for top_up in top_ups:
                write_top_up(connection, account_id, top_up, now=START)
        with engine.connect() as connection:
            return read_view(connection, label), computed(connection, account_id)

    yield both
    engine.dispose()


def read_view(connection, label):
    query = text(
        "SELECT opened_at, closed_at, opening, charged, top_ups, closing, carried, restated, unexplained, finding "
        "FROM balance_proof WHERE account = :label"
    ).columns(opened_at=UtcTime(), closed_at=UtcTime())
    rows = connection.execute(query, {"label": label})
    return sorted(((*row[:2], *map(as_decimal, row[2:9]), row.finding) for row in rows), key=nulls_first)


def computed(connection, account_id):
    snapshots = read_snapshots(connection, account_id)
    periods = reconcile(snapshots, read_top_ups(connection, account_id, snapshots))
    rows = (
        (
            *(period.opened_at, period.closed_at, period.opening, period.charged, period.top_ups, period.closing),
            *((None,) * 3 if period.waits else (period.carried, period.restated, period.unexplained)),
            period.finding,
        )
        for period in periods
    )
    return sorted(rows, key=nulls_first)


def nulls_first(row):
    return [(value is not None, value) for value in row]


def as_decimal(amount):
    return None if amount is None else Decimal(str(amount))


@pytest.mark.parametrize("seed", [1, 2])
def test_the_view_and_the_warnings_of_a_run_have_the_same_proof(proofs, seed):
    random, findings = Random(seed), set()
    for _ in range(ACCOUNTS):
        snapshots, top_ups = random_account(random)
        view, periods = proofs(snapshots, top_ups)
        assert view == periods
        assert len(view) == SNAPSHOTS - 1
        findings |= {row[-1] for row in view}
    assert findings >= {"waits for days", "restated", "unexplained credit", "unexplained charge"}


@pytest.mark.parametrize(
    ("difference", "restated", "finding"),
    [("0", "0", "explained"), ("-35.25", "35.25", "unexplained charge"), ("35.25", "35.25", "restated")],
)
def test_each_finding_is_the_same(proofs, difference, restated, finding):
    restated = Restated(Decimal(restated), Decimal(0), 1)
    snapshots = [
        BalanceSnapshot(START, Decimal(100), Decimal(0), restated=Restated()),
        BalanceSnapshot(START + timedelta(hours=1), Decimal(100), Decimal(difference), restated=restated),
    ]
    view, periods = proofs(snapshots, [])
    assert view == periods
    assert [row[-1] for row in view] == [finding]
