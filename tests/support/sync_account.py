"""An account that is compared with the vendor, and hooks to act at chosen moments of its run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from sqlalchemy import URL, Engine, event, select, text

from etl.db.tables import billing_records, channels, metadata, sync_runs, sync_state, synced_days
from etl.sandbox import Sandbox
from etl.services.context import RunResources
from etl.services.run import RunRequest
from etl.services.sync import run_sync
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of, token_of

START, LAST_CLOSED, TODAY = date(2026, 3, 8), date(2026, 3, 10), date(2026, 3, 11)
MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)


def vendor_record(moment, price="0.2", info="ok"):
    """A record as the vendor's documentation shows it."""
    return {
        "created_at": moment,
        "code_auth": "0371",
        "status": 1,
        "status_info": info,
        "phone": "89243555100",
        "price": Decimal(price),
    }


def charges(day, count, price="0.2", info="ok"):
    """Different records of one day, one per second."""
    return [
        vendor_record(f"{day}T{(10 + n // 3600) % 24:02}:{n // 60 % 60:02}:{n % 60:02}", price, info)
        for n in range(count)
    ]


def listed(vendor: Sandbox) -> Counter:
    """The vendor's records as a multiset."""
    return Counter(
        (datetime.fromisoformat(record["created_at"]), record["status_info"], record["price"])
        for record in vendor.dataset.records
    )


class Account:
    """One account in one database."""

    def __init__(self, url: URL, vendor: Sandbox, **changes):
        self.vendor = vendor
        self.settings = settings_of(url, vendor, START, **changes)
        self.engine = open_engine(url)

    def run(self, after_step: Callable[[], None] = lambda: None, lock=None, url: URL | None = None, **changes):
        """Run a sync in this process. Returns its exit code and error line."""
        if "account" in changes:
            changes["api_token"] = token_of(self.vendor, changes["account"])
        report = run_sync(
            replace(self.settings, database_url=url or self.settings.database_url, **changes),
            RunRequest("sync"),
            replace(NO_PROGRESS, advance=lambda *_: after_step()),
            redact=str,
            clock=lambda: MORNING,
            resources=RunResources() if lock is None else RunResources(lock=lock),
        )
        return report.exit_code, str(report.error or "")

    def read(self, statement, **values):
        with closing(self.engine.connect()) as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]

    def dump(self):
        """What a failed run may not change: the rows of all tables except history and channels, and the watermark."""
        with closing(self.engine.connect()) as connection:
            tables = {
                table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
                for table in metadata.sorted_tables
                if table not in (sync_runs, sync_state, channels)
            }
            state = select(sync_state.c.account_id, sync_state.c.first_day, sync_state.c.last_synced_date)
            return tables | {"sync_state": [tuple(row) for row in connection.execute(state)]}

    def assert_matches_vendor(self):
        """Check that records, ledger and watermark equal the vendor's: nothing lost, nothing doubled."""
        expected = listed(self.vendor)
        row, day = billing_records.c, synced_days.c
        label = {"label": self.settings.account}
        with closing(self.engine.connect()) as connection:
            number = connection.scalar(text("SELECT id FROM accounts WHERE label = :label"), label)
            own_rows = (row.account_id == number, row.withdrawn_at.is_(None))
            rows = connection.execute(
                select(row.created_at, row.status_info, row.price, row.repeats).where(*own_rows)
            ).all()
            ledger = connection.execute(select(day.records, day.spend).where(day.account_id == number)).all()
            watermark = connection.scalar(
                select(sync_state.c.last_synced_date).where(sync_state.c.account_id == number)
            )
        assert Counter({tuple(stored[:3]): stored[3] for stored in rows}) == expected
        assert len(rows) == len(expected), "equal records are one row"
        assert sum(records for records, _ in ledger) == expected.total()
        assert sum(spend for _, spend in ledger) == sum(key[2] * times for key, times in expected.items())
        assert (len(ledger), watermark) == (4, LAST_CLOSED)


@contextmanager
def just_before(words: str, act: Callable[[], None], *, times: int = 1, skip: int = 0) -> Iterator[list[str]]:
    """Call `act` just before statements that start with `words`, in the thread that executes them; `COMMIT` is one too.

    The first `skip` statements are passed over, and all after `times` more.

    Yields the statements before which `act` was called.
    """
    done: list[str] = []
    passed = iter(range(skip))

    def watch(statement: str) -> None:
        if len(done) < times and statement.replace('"', "").replace("`", "").startswith(words):
            if next(passed, None) is not None:
                return
            done.append(statement)
            act()

    def before_statement(_connection, _cursor, statement, *_rest):
        watch(statement)

    def before_commit(_connection):
        watch("COMMIT")

    event.listen(Engine, "before_cursor_execute", before_statement)
    event.listen(Engine, "commit", before_commit)
    try:
        yield done
    finally:
        event.remove(Engine, "before_cursor_execute", before_statement)
        event.remove(Engine, "commit", before_commit)


@contextmanager
def errors_seen() -> Iterator[list[str]]:
    """The driver's errors in order: their number, or their type."""
    seen: list[str] = []

    def note(context):
        number = context.original_exception.args[:1]
        seen.append(
            str(number[0]) if number and isinstance(number[0], int) else type(context.original_exception).__name__
        )

    event.listen(Engine, "handle_error", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "handle_error", note)


def end_sessions(engine):
    """Terminate all other sessions in this database, and wait until they are gone."""
    own, others, kill = {
        "postgresql": (
            "SELECT pg_backend_pid()",
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
            "SELECT pg_terminate_backend({})",
        ),
        "mariadb": (
            "SELECT CONNECTION_ID()",
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()",
            "KILL {}",
        ),
    }[engine.dialect.name]
    with closing(engine.connect().execution_options(isolation_level="AUTOCOMMIT")) as connection:
        connection.scalar(text(own))
        for session in connection.scalars(text(others)).all():
            connection.execute(text(kill.format(session)))
        for _ in range(600):
            if not connection.scalars(text(others)).all():
                return
            time.sleep(0.05)
    pytest.fail("a terminated session is still there")


def wait_until_session_is_blocked(engine):
    """Wait until a transaction on the server waits for a lock."""
    query = {
        "postgresql": "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND datname = current_database()",
        "mysql": "SELECT COUNT(*) FROM information_schema.innodb_trx t"
        " JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id"
        " WHERE t.trx_state = 'LOCK WAIT' AND p.db = DATABASE()",
    }[engine.dialect.name.replace("mariadb", "mysql")]
    with closing(engine.connect().execution_options(isolation_level="AUTOCOMMIT")) as connection:
        for _ in range(300):
            if connection.scalar(text(query)):
                return
            time.sleep(0.2)  # MariaDB caches the answer for a moment
    pytest.fail("no session waits for a lock")
