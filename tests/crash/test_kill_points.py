"""Runs that are killed or interrupted at every kill point; one undisturbed run repairs the state."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import text
from support.crash_injection import FORK

from etl.db.migrate import alembic_config

GRACE_SECONDS = 5
FEW = 10
"""Minimum number of kill points of a migration."""
STEPS = {
    "before fetch", "after fetch", "fork: before fetch", "fork: after fetch",
    "begin", "before commit", "after commit", "close", "end",
    "before select sync_state", "before update billing_records", "before update synced_days",
    "before update sync_state", "before insert sync_runs", "before update sync_runs",
}  # fmt: skip
"""Kill points of a run on every database."""
BATCHES = {
    "sqlite": "before insert billing_records",
    "mariadb": "before insert billing_records",
    "postgresql": "before batch",
}


READS = {"select", "show", "describe", "set"}
"""Statements after which the database is as it was before them."""


def select_points(points: list[str], times: int) -> Iterator[str]:
    """The first points of each kind, without those after a statement, if the next statement follows at once.

    Nothing outside the process changes between the two: a kill at the second leaves the same state.
    """
    for point, following in zip(points, [*points[1:], ""], strict=True):
        is_repeated = point.startswith("after ") and following.startswith("before ")
        if int(point.rpartition("#")[2]) <= times and not is_repeated:
            yield point


def kinds(points: list[str]) -> set[str]:
    """Kinds of points, without their number."""
    return {point.rpartition(" #")[0] for point in points}


def make_empty(account) -> None:
    """Drop the whole schema."""
    url = account.url
    if url.get_backend_name() == "sqlite":
        for path in Path(url.database).parent.glob(f"{Path(url.database).name}*"):
            path.unlink()
        return
    statements = {
        "postgresql": ("DROP SCHEMA public CASCADE", "CREATE SCHEMA public"),
        "mariadb": (f"DROP DATABASE {url.database}", f"CREATE DATABASE {url.database}"),
    }
    with account.engine.begin() as connection:
        for statement in statements[url.get_backend_name()]:
            connection.execute(text(statement))


def begin_at(account, revision: str | None) -> None:
    """Make an empty database, or one with the schema of an older revision."""
    make_empty(account)
    if revision is not None:
        config = alembic_config()
        with account.engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)


@pytest.fixture
def points(account, records) -> list[str]:
    """All kill points of a run that makes every kind of change, in a migrated database."""
    account.prepare(*records)
    done = account.sync()
    assert done.code == 0, done.output
    account.check_undisturbed_run()
    return done.points


@pytest.mark.fault(94, 96, 97, 104)
def test_a_run_killed_at_any_step_is_repaired_by_the_next(account, records, points):
    landed = []
    # The second point of a kind is in another window, whose code is the same for all databases.
    for point in select_points(points, times=2 if account.engine.dialect.name == "sqlite" else 1):
        account.prepare(*records)
        before = account.stored_state().watermark
        done = account.sync(signum=signal.SIGKILL, point=point)
        if done.code == -signal.SIGKILL:
            landed.append(point)
        between = account.check_invariants(before)
        account.check_undisturbed_run(between)
    wanted = STEPS | {BATCHES[account.engine.dialect.name]}
    assert wanted <= kinds(landed)
    assert len(landed) >= 35


@pytest.mark.fault(104)
def test_a_run_whose_fork_is_killed_fails_and_is_repaired_by_the_next(account, records, points):
    in_fork = [point for point in points if point.startswith(FORK)]
    for point in in_fork:
        account.prepare(*records)
        before = account.stored_state().watermark
        done = account.sync(signum=signal.SIGKILL, point=point, fork=True)
        assert done.code == 70, (point, done)
        assert "the worker process was killed" in done.output
        account.check_undisturbed_run(account.check_invariants(before))
    assert len(in_fork) >= 6


@pytest.mark.fault(12, 101, 103)
def test_a_run_interrupted_at_any_step_exits_in_time_and_is_repaired_by_the_next(account, records, points):
    numbers = (signal.SIGTERM, signal.SIGINT)
    stopped = 0
    for place, point in enumerate(select_points(points, times=1)):
        number = numbers[place % 2]
        account.prepare(*records)
        before = account.stored_state().watermark
        done = account.sync(signum=number, point=point)
        # A signal in the last steps only shows in the end of the process: all work is done by then.
        assert done.code in {128 + number, 0}, (point, done)
        assert done.seconds < GRACE_SECONDS, (point, done)
        assert "Traceback" not in done.output
        with account.engine.connect() as connection:
            newest = text("SELECT outcome, exit_code FROM sync_runs ORDER BY id DESC LIMIT 1")
            outcome, code = connection.execute(newest).one()
        assert (outcome, code) in {("stopped", 128 + number), ("done", 0)}, (point, done)
        stopped += outcome == "stopped"
        between = account.check_invariants(before)
        account.check_undisturbed_run(between)
    assert stopped >= 20


@pytest.mark.fault(87)
@pytest.mark.parametrize("revision", [None, "0001"])
def test_a_migration_that_is_killed_is_completed_by_the_next_run(account, records, revision):
    account.set_records(records[0])
    begin_at(account, revision)
    first = account.sync()
    assert first.code == 0, first.output
    migration = first.points[: first.points.index("before insert accounts #1")]
    steps = [point for point in migration if point.split()[1] not in READS and not point.startswith("before ")]
    # What each single statement leaves on MariaDB, which commits it, is in test_migrations.
    steps = steps[:: max(1, len(steps) // FEW)]
    for point in steps:
        begin_at(account, revision)
        done = account.sync(signum=signal.SIGKILL, point=point)
        assert done.code == -signal.SIGKILL, (point, done)
        account.check_undisturbed_run()
    assert len(steps) >= FEW
