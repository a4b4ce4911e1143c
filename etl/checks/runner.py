"""Whether a sync can work: database, its place and its schema, token, clock, and what dates turn out to mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import URL, Connection, Engine, text

from etl.checks.filesystem import require_local, require_own, require_room, require_writable
from etl.checks.privileges import require_privileges
from etl.checks.server import require_changeable, require_mode, tell_journal, tell_limits
from etl.db.accounts import Finding
from etl.db.engine import database_errors, database_exists, reading, sqlite_path
from etl.db.migrate import is_current, require_migratable, require_schema, schema_revision
from etl.errors import BillingError, CheckFailed, DatabaseFailed, ForeignDatabase, VendorError
from etl.extract.client import Client
from etl.extract.source_days import ReadFeed
from etl.extract.transport import CLOCK_TOLERANCE
from etl.model import Record, Window

PROBED_DAYS = 14
"""How far back a day with records is looked for."""
MEANINGS: Final = {
    "included": "the end date is included, and days are cut in the zone of created_at",
    "excluded": "the end date is not included",
    "other_zone": "the end date is included, and days are cut in another zone than that of created_at",
}
"""What the vendor's dates may turn out to mean, by what stands in `accounts.dates_mean`."""

Recall = Callable[[Finding], Finding | None]
"""Remembers what was found now, and says what was found before."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the result; `error` is what stands in the way, with its cure.

    Attributes:
        is_warning: The message needs attention, and a sync works all the same.
    """

    name: str
    message: str
    error: BillingError | None = None
    is_warning: bool = False


def check_database(engine: Engine, *, auto_migrate: bool, mounts: str) -> Iterator[Check]:
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
            yield Check("database", "", DatabaseFailed(f"the folder {folder} does not exist; make it first"))
            return
        yield attempt("folder", lambda: require_writable(path))
        yield attempt("disk", lambda: require_room(folder))
        yield attempt("file system", lambda: require_local(path, mounts) or "unknown")
        if not database_exists(engine):
            yield Check("database", f"{path} is not there yet; sync makes it")
            return
        yield attempt("file", lambda: require_own(path))
    yield from _check_connection(engine, auto_migrate)


def _check_connection(engine: Engine, auto_migrate: bool) -> Iterator[Check]:  # noqa: FBT001 - a setting handed on
    try:
        with database_errors(), reading(engine) as connection:
            version = connection.dialect.server_version_info or ()
            connection.execute(text("SELECT 1"))
            backend = connection.dialect.name
            name = {"mysql": "MariaDB/MySQL", "mariadb": "MariaDB", "postgresql": "PostgreSQL", "sqlite": "SQLite"}
            words = f"{name[backend]} {'.'.join(map(str, version))}"
            yield Check("database", words + explain_encryption(engine.url))
            if backend == "sqlite":
                yield attempt("journal", lambda: tell_journal(connection))
            else:
                yield attempt("time limits", lambda: tell_limits(connection))
                yield attempt("writing", lambda: require_changeable(connection))
                yield attempt("privileges", lambda: require_privileges(connection, auto_migrate=auto_migrate))
            if backend in {"mysql", "mariadb"}:
                yield attempt("mode", lambda: require_mode(connection))
            yield _check_schema(connection, auto_migrate)
    except BillingError as error:
        yield Check("database", "", error)


def attempt(name: str, look: Callable[[], str]) -> Check:
    """The line of one look: what it says, or the error that it raises."""
    try:
        with database_errors():
            return Check(name, look())
    except BillingError as error:
        return Check(name, "", error)


def explain_encryption(url: URL) -> str:
    """What to add to a URL whose server could be anybody's; nothing where it is this machine's, or is proven."""
    if not url.host or url.host.startswith("/") or url.host in {"localhost", "127.0.0.1", "::1"}:
        return ""
    if url.get_backend_name() == "postgresql":
        proven, cure = str(url.query.get("sslmode", "")).startswith("verify-"), "sslmode=verify-full"
    else:
        proven, cure = "ssl_ca" in url.query, "ssl_ca=FILE"
    return "" if proven else f"; nothing proves that it is the right server: add ?{cure} to BILLING_DATABASE_URL"


def _check_schema(connection: Connection, auto_migrate: bool) -> Check:  # noqa: FBT001 - a setting handed on
    def look() -> str:
        try:
            if auto_migrate and not is_current(connection):
                require_migratable(connection)
                return "not up to date; sync migrates it"
            require_schema(connection)
        except ForeignDatabase as error:
            raise CheckFailed(str(error)) from None
        return f"revision {schema_revision(connection)}"

    return attempt("schema", look)


def check_vendor(
    client: Client, read_feed: ReadFeed, now: datetime, today: date, recall: Recall = lambda _finding: None
) -> Iterator[Check]:
    """Whether the vendor answers to the token, whether the clocks agree, and how it cuts days.

    Args:
        client: With the account's token.
        read_feed: The transform of a feed.
        now: The present moment, aware.
        today: In the vendor's wall clock.
        recall: Of the account.
    """
    try:
        balance = client.balance()["balance"]
    except VendorError as error:
        yield Check("token", "", error)
        return
    yield Check("token", f"accepted; the balance is {balance}")
    yield _check_clock(client.clock_skew, now)
    try:
        meaning = find_meaning(client, read_feed, today)
    except VendorError as error:
        yield Check("dates", "", error)
        return
    if meaning is None:
        yield Check("dates", f"no records in the last {PROBED_DAYS} days to tell by; any reading is right for sync")
    else:
        yield attempt("dates", lambda: compare_meanings(recall(Finding(meaning, now)), meaning))


def compare_meanings(before: Finding | None, meaning: str) -> str:
    """What the vendor's dates mean, in words.

    Raises:
        CheckFailed: It is not what was seen before.
    """
    if before is not None and before.meaning != meaning:
        raise CheckFailed(
            f"the vendor cuts days in another way than before. On {before.seen_at:%Y-%m-%d}: "
            f"{MEANINGS.get(before.meaning, before.meaning)}. Now: {MEANINGS[meaning]}. A sync is right either way; "
            "whether the stored days still equal the vendor's, billing-etl verify tells"
        )
    return MEANINGS[meaning]


def _check_clock(skew: float | None, now: datetime) -> Check:
    if skew is None:
        return Check("clock", f"{now:%Y-%m-%d %H:%M} UTC; the vendor tells no time")
    if abs(skew) > CLOCK_TOLERANCE:
        side = "ahead of" if skew > 0 else "behind"
        return Check(
            "clock", "", CheckFailed(f"{abs(skew) / 60:.0f} minutes {side} the vendor's; set this machine's clock")
        )
    return Check("clock", f"within {abs(skew):.0f} s of the vendor's")


def find_meaning(client: Client, read_feed: ReadFeed, today: date) -> str | None:
    """What a question for one single day brings, against what a wide one shows of it. A sync does not depend on it.

    Returns:
        A key of MEANINGS; None where there are no records to tell by.
    """
    wide = Window(today - timedelta(days=PROBED_DAYS), today - timedelta(days=1))
    records: list[Record] = []
    client.billing_data(wide, lambda feed: read_feed(feed, wide, records.extend))
    by_day: dict[str, set[str]] = {}
    for record in records:
        by_day.setdefault(record.created_at[:10], set()).add(record.created_at)
    # A day in the middle: its neighbours are whole in the answer, however days are cut.
    days = [day for day in wide.days()[2:-2] if by_day.get(day.isoformat())]
    if not days:
        return None
    day = max(days, key=lambda one: len(by_day[one.isoformat()]))
    around = Window(day - timedelta(days=2), day + timedelta(days=2))
    records.clear()
    client.billing_data(Window(day, day), lambda feed: read_feed(feed, around, records.extend))
    found = {record.created_at for record in records}
    if not found:
        return "excluded"
    outside = any(time[:10] != day.isoformat() for time in found)
    missed = by_day[day.isoformat()] - found
    return "other_zone" if outside or missed else "included"
