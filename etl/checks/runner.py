"""The checks that precede a sync: database, files, schema, token, clock, and the semantics of dates."""

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
from etl.date_ranges import DateRange
from etl.db.accounts import DateSemantics
from etl.db.dialects import dialect_for
from etl.db.dialects.health import Caution
from etl.db.engine import database_exists, database_file, read_connection
from etl.db.errors import translate_errors
from etl.db.file_access import folder_problem
from etl.db.migrate import (
    PendingMigrations,
    has_current_schema,
    pending_migrations,
    require_migratable,
    require_schema,
    schema_revision,
)
from etl.db.ownership import require_ours
from etl.db.tables import metadata
from etl.errors import (
    AuthenticationError,
    BillingError,
    CheckFailedError,
    DatabaseError,
    ForeignDatabaseError,
    SchemaMismatchError,
    VendorError,
)
from etl.extract.client import Client
from etl.extract.transport import CLOCK_TOLERANCE
from etl.model import FeedReader, Record

DATABASE_URL: Final = "BILLING_DATABASE_URL"
"""The setting with the database's URL, for messages."""
PROBED_DAYS = 14
"""Days before today to search for a day with records."""
DATE_SEMANTICS: Final = {
    "included": "the end date is included, and days are cut in the zone of created_at",
    "excluded": "the end date is not included",
    "other_zone": "the end date is included, and days are cut in another zone than that of created_at",
}
"""Descriptions of the semantics of the vendor's dates, by the value of `accounts.dates_mean`."""

RememberFn = Callable[[DateSemantics], DateSemantics | None]
"""Stores the detected semantics and returns the previously stored ones."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check.

    Attributes:
        name: A word or two.
        message: The result; empty if there is an error.
        error: The problem that prevents a sync, with its solution; None without one.
        is_warning: Whether the message needs attention although a sync works.
    """

    name: str
    message: str
    error: BillingError | None = None
    is_warning: bool = False


def check_database(engine: Engine, *, auto_migrate: bool, mounts: str) -> Iterator[CheckResult]:
    """Check connection, configuration, schema and files of the database.

    Args:
        engine: The engine of the database.
        auto_migrate: Whether a sync creates and migrates the schema.
        mounts: The content of `/proc/mounts`; empty on systems without it.
    """
    path = database_file(engine.url)
    if path is not None:
        if problem := folder_problem(path):
            yield CheckResult("database", "", DatabaseError(problem))
            return
        folder = path.resolve().parent
        yield run_check("folder", lambda: require_writable(path))
        yield run_check("disk", lambda: require_free_space(folder))
        yield run_check("file system", lambda: require_local_filesystem(path, mounts) or "unknown")
        if not database_exists(engine):
            yield CheckResult("database", f"{path} does not exist yet; sync creates it")
            return
        yield run_check("file", lambda: require_file_permissions(path))
    yield from _check_connection(engine, auto_migrate)


def _check_connection(engine: Engine, auto_migrate: bool) -> Iterator[CheckResult]:  # noqa: FBT001 - a setting handed on
    try:
        with translate_errors(), read_connection(engine) as connection:
            version = connection.dialect.server_version_info or ()
            connection.execute(text("SELECT 1"))
            dialect = dialect_for(connection.dialect.name)
            server = f"{dialect.server_name(connection)} {'.'.join(map(str, version))}"
            advice = explain_encryption(engine.url)
            yield CheckResult("database", server + advice, is_warning=bool(advice))
            if _is_ours(connection):  # the other checks would advise to change tables of another program
                for check in dialect.health_checks(connection, list(metadata.tables), DATABASE_URL):
                    yield run_check(check.name, check.probe)
                if dialect.has_users:
                    yield run_check("privileges", lambda: require_privileges(connection, auto_migrate=auto_migrate))
            yield _check_schema(connection, auto_migrate)
    except BillingError as error:
        yield CheckResult("database", "", error)


def _is_ours(connection: Connection) -> bool:
    try:
        require_ours(connection)
    except ForeignDatabaseError:
        return False
    return True


def run_check(name: str, probe: Callable[[], str]) -> CheckResult:
    """Run a probe; the result has its message, or the error that it raises. A Caution is a warning."""
    try:
        with translate_errors():
            message = probe()
        return CheckResult(name, message, is_warning=isinstance(message, Caution))
    except BillingError as error:
        return CheckResult(name, "", error)


def explain_encryption(url: URL) -> str:
    """Advice for a URL without server authentication; empty for a local or an authenticated server."""
    if not url.host or url.host.startswith("/") or url.host in {"localhost", "127.0.0.1", "::1"}:
        return ""
    option = dialect_for(url.get_backend_name()).authentication_option(url)
    return f"; the server is not authenticated: add ?{option} to {DATABASE_URL}" if option else ""


def _check_schema(connection: Connection, auto_migrate: bool) -> CheckResult:  # noqa: FBT001 - a setting handed on
    def probe() -> str:
        try:
            is_current = has_current_schema(connection)
            if not is_current:
                require_migratable(connection)
            if not is_current and (pending := pending_migrations(connection)):
                plan = describe_pending(pending)
                if not auto_migrate:
                    raise SchemaMismatchError(f"{plan}: make a backup, then run: billing-etl migrate")
                return Caution(f"{plan}: the next sync migrates the database; make a backup before")
            if auto_migrate and not is_current:
                is_created = schema_revision(connection) is not None
                return "some views are missing; sync creates them" if is_created else "not there yet; sync creates it"
            require_schema(connection)
        except ForeignDatabaseError as error:
            raise CheckFailedError(str(error)) from None
        return f"revision {schema_revision(connection)}"

    return run_check("schema", probe)


def describe_pending(pending: PendingMigrations) -> str:
    """What the migrations of a database will do: their names, and how many records it holds. Pure."""
    return (
        f"revision {pending.revision} is older than this version, with {pending.records:,} records; pending: "
        f"{'; '.join(pending.names)}"
    )


def check_vendor(
    client: Client, read_feed: FeedReader, now: datetime, today: date, recall: RememberFn = lambda _semantics: None
) -> Iterator[CheckResult]:
    """Check the token, the clock, and the semantics of the vendor's dates.

    Args:
        client: A client with the account's token.
        read_feed: Parses a feed.
        now: The current time, aware.
        today: In the vendor's wall clock.
        recall: Stores the account's date semantics.
    """
    try:
        balance = client.get_balance()["balance"]
    except (AuthenticationError, VendorError) as error:
        yield CheckResult("token", "", error)
        return
    yield CheckResult("token", f"accepted; the balance is {balance}")
    yield _check_clock(client.clock_skew, now)
    try:
        meaning = detect_date_semantics(client, read_feed, today)
    except (AuthenticationError, VendorError) as error:
        yield CheckResult("dates", "", error)
        return
    if meaning is None:
        yield CheckResult("dates", f"no records in the last {PROBED_DAYS} days to detect it; sync works either way")
    else:
        yield run_check("dates", lambda: compare_date_semantics(recall(DateSemantics(meaning, now)), meaning))


def compare_date_semantics(before: DateSemantics | None, meaning: str) -> str:
    """Describe the semantics of the vendor's dates.

    Raises:
        CheckFailedError: They have changed.
    """
    if before is not None and before.meaning != meaning:
        raise CheckFailedError(
            f"the vendor cuts days in another way than before. On {before.seen_at:%Y-%m-%d}: "
            f"{DATE_SEMANTICS.get(before.meaning, before.meaning)}. Now: {DATE_SEMANTICS[meaning]}. "
            "A sync works either way; run billing-etl verify to compare the stored days with the vendor's"
        )
    return DATE_SEMANTICS[meaning]


def _check_clock(skew: float | None, now: datetime) -> CheckResult:
    if skew is None:
        return CheckResult("clock", f"{now:%Y-%m-%d %H:%M} UTC; the vendor sends no time")
    if abs(skew) > CLOCK_TOLERANCE:
        side = "ahead of" if skew > 0 else "behind"
        return CheckResult(
            "clock", "", CheckFailedError(f"{abs(skew) / 60:.0f} minutes {side} the vendor's; set this machine's clock")
        )
    return CheckResult("clock", f"within {abs(skew):.0f} s of the vendor's")


def detect_date_semantics(client: Client, read_feed: FeedReader, today: date) -> str | None:
    """Compare a request for a single day with a wider one. A sync does not depend on the result.

    Returns:
        A key of DATE_SEMANTICS; None without records.
    """
    wide = DateRange(today - timedelta(days=PROBED_DAYS), today - timedelta(days=1))
    records: list[Record] = []
    client.get_records(wide, lambda feed: read_feed(feed, wide, records.extend))
    by_day: dict[str, set[str]] = {}
    for record in records:
        by_day.setdefault(record.created_at[:10], set()).add(record.created_at)
    # A day in the middle: its neighbours are complete in the answer under every date semantics.
    days = [day for day in wide.days()[2:-2] if by_day.get(day.isoformat())]
    if not days:
        return None
    day = max(days, key=lambda candidate: len(by_day[candidate.isoformat()]))
    around = DateRange(day - timedelta(days=2), day + timedelta(days=2))
    records.clear()
    client.get_records(DateRange(day, day), lambda feed: read_feed(feed, around, records.extend))
    times = {record.created_at for record in records}
    if not times:
        return "excluded"
    outside = any(time[:10] != day.isoformat() for time in times)
    missed = by_day[day.isoformat()] - times
    return "other_zone" if outside or missed else "included"
