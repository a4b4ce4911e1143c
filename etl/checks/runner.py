"""Whether a sync can work: database, its place and its schema, token, clock, and what dates turn out to mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import URL, Connection, Engine, text

from etl.checks.filesystem import (
    require_file_permissions,
    require_free_space,
    require_local_filesystem,
    require_writable,
)
from etl.checks.privileges import require_privileges
from etl.checks.server import describe_journal_mode, describe_timeouts, require_changeable, require_sql_mode
from etl.db.accounts import DateSemantics
from etl.db.engine import database_exists, read_connection, sqlite_path
from etl.db.errors import translate_errors
from etl.db.migrate import has_current_schema, require_migratable, require_schema, schema_revision
from etl.errors import BillingError, CheckFailedError, DatabaseError, ForeignDatabaseError, VendorError
from etl.extract.client import Client
from etl.extract.source_days import FeedReader
from etl.extract.transport import CLOCK_TOLERANCE
from etl.model import DateRange, Record

PROBED_DAYS = 14
"""How far back a day with records is looked for."""
DATE_SEMANTICS: Final = {
    "included": "the end date is included, and days are cut in the zone of created_at",
    "excluded": "the end date is not included",
    "other_zone": "the end date is included, and days are cut in another zone than that of created_at",
}
"""What the vendor's dates may turn out to mean, by what stands in `accounts.dates_mean`."""

RememberFn = Callable[[DateSemantics], DateSemantics | None]
"""Remembers what was found now, and says what was found before."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of the result; `error` is what stands in the way, with its cure.

    Attributes:
        is_warning: The message needs attention, and a sync works all the same.
    """

    name: str
    message: str
    error: BillingError | None = None
    is_warning: bool = False


def check_database(engine: Engine, *, auto_migrate: bool, mounts: str) -> Iterator[CheckResult]:
    """Whether the database answers, what schema it has, and whether it is set up and lies as it should.

    Args:
        engine: Of the database.
        auto_migrate: The program makes and migrates the schema itself.
        mounts: As `/proc/mounts`; empty where there is no such thing.
    """
    path = sqlite_path(engine.url)
    if path is not None:
        folder = path.resolve().parent
        if not folder.is_dir():
            yield CheckResult("database", "", DatabaseError(f"the folder {folder} does not exist; make it first"))
            return
        yield run_check("folder", lambda: require_writable(path))
        yield run_check("disk", lambda: require_free_space(folder))
        yield run_check("file system", lambda: require_local_filesystem(path, mounts) or "unknown")
        if not database_exists(engine):
            yield CheckResult("database", f"{path} is not there yet; sync makes it")
            return
        yield run_check("file", lambda: require_file_permissions(path))
    yield from _check_connection(engine, auto_migrate)


def _check_connection(engine: Engine, auto_migrate: bool) -> Iterator[CheckResult]:  # noqa: FBT001 - a setting handed on
    try:
        with translate_errors(), read_connection(engine) as connection:
            version = connection.dialect.server_version_info or ()
            connection.execute(text("SELECT 1"))
            backend = connection.dialect.name
            name = {"mysql": "MariaDB/MySQL", "mariadb": "MariaDB", "postgresql": "PostgreSQL", "sqlite": "SQLite"}
            words = f"{name[backend]} {'.'.join(map(str, version))}"
            yield CheckResult("database", words + explain_encryption(engine.url))
            if backend == "sqlite":
                yield run_check("journal", lambda: describe_journal_mode(connection))
            else:
                yield run_check("time limits", lambda: describe_timeouts(connection))
                yield run_check("writing", lambda: require_changeable(connection))
                yield run_check("privileges", lambda: require_privileges(connection, auto_migrate=auto_migrate))
            if backend in {"mysql", "mariadb"}:
                yield run_check("mode", lambda: require_sql_mode(connection))
            yield _check_schema(connection, auto_migrate)
    except BillingError as error:
        yield CheckResult("database", "", error)


def run_check(name: str, look: Callable[[], str]) -> CheckResult:
    """The line of one look: what it says, or the error that it raises."""
    try:
        with translate_errors():
            return CheckResult(name, look())
    except BillingError as error:
        return CheckResult(name, "", error)


def explain_encryption(url: URL) -> str:
    """What to add to a URL whose server could be anybody's; nothing where it is this machine's, or is proven."""
    if not url.host or url.host.startswith("/") or url.host in {"localhost", "127.0.0.1", "::1"}:
        return ""
    if url.get_backend_name() == "postgresql":
        proven, cure = str(url.query.get("sslmode", "")).startswith("verify-"), "sslmode=verify-full"
    else:
        proven, cure = "ssl_ca" in url.query, "ssl_ca=FILE"
    return "" if proven else f"; nothing proves that it is the right server: add ?{cure} to BILLING_DATABASE_URL"


def _check_schema(connection: Connection, auto_migrate: bool) -> CheckResult:  # noqa: FBT001 - a setting handed on
    def look() -> str:
        try:
            if auto_migrate and not has_current_schema(connection):
                require_migratable(connection)
                return "not up to date; sync migrates it"
            require_schema(connection)
        except ForeignDatabaseError as error:
            raise CheckFailedError(str(error)) from None
        return f"revision {schema_revision(connection)}"

    return run_check("schema", look)


def check_vendor(
    client: Client, read_feed: FeedReader, now: datetime, today: date, recall: RememberFn = lambda _finding: None
) -> Iterator[CheckResult]:
    """Whether the vendor answers to the token, whether the clocks agree, and how it cuts days.

    Args:
        client: With the account's token.
        read_feed: The transform of a feed.
        now: The present moment, aware.
        today: In the vendor's wall clock.
        recall: Of the account.
    """
    try:
        balance = client.get_balance()["balance"]
    except VendorError as error:
        yield CheckResult("token", "", error)
        return
    yield CheckResult("token", f"accepted; the balance is {balance}")
    yield _check_clock(client.clock_skew, now)
    try:
        meaning = detect_date_semantics(client, read_feed, today)
    except VendorError as error:
        yield CheckResult("dates", "", error)
        return
    if meaning is None:
        yield CheckResult(
            "dates", f"no records in the last {PROBED_DAYS} days to tell by; any reading is right for sync"
        )
    else:
        yield run_check("dates", lambda: compare_date_semantics(recall(DateSemantics(meaning, now)), meaning))


def compare_date_semantics(before: DateSemantics | None, meaning: str) -> str:
    """What the vendor's dates mean, in words.

    Raises:
        CheckFailedError: It is not what was seen before.
    """
    if before is not None and before.meaning != meaning:
        raise CheckFailedError(
            f"the vendor cuts days in another way than before. On {before.seen_at:%Y-%m-%d}: "
            f"{DATE_SEMANTICS.get(before.meaning, before.meaning)}. Now: {DATE_SEMANTICS[meaning]}. "
            "A sync is right either way; "
            "whether the stored days still equal the vendor's, billing-etl verify tells"
        )
    return DATE_SEMANTICS[meaning]


def _check_clock(skew: float | None, now: datetime) -> CheckResult:
    if skew is None:
        return CheckResult("clock", f"{now:%Y-%m-%d %H:%M} UTC; the vendor tells no time")
    if abs(skew) > CLOCK_TOLERANCE:
        side = "ahead of" if skew > 0 else "behind"
        return CheckResult(
            "clock", "", CheckFailedError(f"{abs(skew) / 60:.0f} minutes {side} the vendor's; set this machine's clock")
        )
    return CheckResult("clock", f"within {abs(skew):.0f} s of the vendor's")


def detect_date_semantics(client: Client, read_feed: FeedReader, today: date) -> str | None:
    """What a question for one single day brings, against what a wide one shows of it. A sync does not depend on it.

    Returns:
        A key of DATE_SEMANTICS; None where there are no records to tell by.
    """
    wide = DateRange(today - timedelta(days=PROBED_DAYS), today - timedelta(days=1))
    records: list[Record] = []
    client.get_records(wide, lambda feed: read_feed(feed, wide, records.extend))
    by_day: dict[str, set[str]] = {}
    for record in records:
        by_day.setdefault(record.created_at[:10], set()).add(record.created_at)
    # A day in the middle: its neighbours are whole in the answer, however days are cut.
    days = [day for day in wide.days()[2:-2] if by_day.get(day.isoformat())]
    if not days:
        return None
    day = max(days, key=lambda one: len(by_day[one.isoformat()]))
    around = DateRange(day - timedelta(days=2), day + timedelta(days=2))
    records.clear()
    client.get_records(DateRange(day, day), lambda feed: read_feed(feed, around, records.extend))
    found = {record.created_at for record in records}
    if not found:
        return "excluded"
    outside = any(time[:10] != day.isoformat() for time in found)
    missed = by_day[day.isoformat()] - found
    return "other_zone" if outside or missed else "included"
