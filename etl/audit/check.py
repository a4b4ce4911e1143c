"""Whether a sync can work: settings, database, schema, token, clock, and what the vendor's dates turn out to mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import URL, Engine, text

from etl.errors import BillingError, CheckFailed, DatabaseFailed, SchemaMismatch, VendorError
from etl.extract.client import Client
from etl.extract.source import ReadFeed
from etl.extract.transport import CLOCK_TOLERANCE
from etl.load.engine import database_errors, database_exists, reading, sqlite_path
from etl.load.schema import require_schema, schema_revision
from etl.load.tables import SCHEMA_REVISION
from etl.model import Record, Window

PROBED_DAYS = 14
"""How far back a day with records is looked for."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the result; `error` is what stands in the way, with its cure."""

    name: str
    message: str
    error: BillingError | None = None


def check_database(engine: Engine, *, auto_migrate: bool) -> Iterator[Check]:
    """Whether the database answers and what schema it has."""
    path = sqlite_path(engine.url)
    if path is not None and not database_exists(engine):
        folder = path.parent.resolve()
        if folder.is_dir():
            yield Check("database", f"{path} is not there yet; sync makes it")
        else:
            yield Check("database", "", DatabaseFailed(f"the folder {folder} does not exist; make it first"))
        return
    try:
        with database_errors(), reading(engine) as connection:
            version = connection.dialect.server_version_info or ()
            connection.execute(text("SELECT 1"))
            name = {"mysql": "MariaDB/MySQL", "mariadb": "MariaDB", "postgresql": "PostgreSQL", "sqlite": "SQLite"}
            words = f"{name[connection.dialect.name]} {'.'.join(map(str, version))}"
            yield Check("database", words + explain_encryption(engine.url))
            yield _check_schema(schema_revision(connection), lambda: require_schema(connection), auto_migrate)
    except BillingError as error:
        yield Check("database", "", error)


def explain_encryption(url: URL) -> str:
    """What to add to a URL whose server could be anybody's; nothing where it is this machine's, or is proven."""
    if not url.host or url.host.startswith("/") or url.host in {"localhost", "127.0.0.1", "::1"}:
        return ""
    if url.get_backend_name() == "postgresql":
        proven, cure = str(url.query.get("sslmode", "")).startswith("verify-"), "sslmode=verify-full"
    else:
        proven, cure = "ssl_ca" in url.query, "ssl_ca=FILE"
    return "" if proven else f"; nothing proves that it is the right server: add ?{cure} to BILLING_DATABASE_URL"


def _check_schema(revision: str | None, require: Callable[[], None], auto_migrate: bool) -> Check:  # noqa: FBT001 - a setting handed on
    try:
        require()
    except SchemaMismatch as error:
        if auto_migrate and (revision is None or revision <= SCHEMA_REVISION):
            return Check("schema", "not up to date; sync migrates it")
        return Check("schema", "", error)
    return Check("schema", f"revision {revision}")


def check_vendor(client: Client, read_feed: ReadFeed, now: datetime, today: date) -> Iterator[Check]:
    """Whether the vendor answers to the token, whether the clocks agree, and how it cuts days."""
    try:
        balance = client.balance()["balance"]
    except VendorError as error:
        yield Check("token", "", error)
        return
    yield Check("token", f"accepted; the balance is {balance}")
    yield _check_clock(client.clock_skew, now)
    try:
        yield Check("dates", _explain_dates(client, read_feed, today))
    except VendorError as error:
        yield Check("dates", "", error)


def _check_clock(skew: float | None, now: datetime) -> Check:
    if skew is None:
        return Check("clock", f"{now:%Y-%m-%d %H:%M} UTC; the vendor tells no time")
    if abs(skew) > CLOCK_TOLERANCE:
        side = "ahead of" if skew > 0 else "behind"
        return Check(
            "clock", "", CheckFailed(f"{abs(skew) / 60:.0f} minutes {side} the vendor's; set this machine's clock")
        )
    return Check("clock", f"within {abs(skew):.0f} s of the vendor's")


def _explain_dates(client: Client, read_feed: ReadFeed, today: date) -> str:
    """What a question for one single day brings, against what a wide one shows of it. A sync does not depend on it."""
    wide = Window(today - timedelta(days=PROBED_DAYS), today - timedelta(days=1))
    records: list[Record] = []
    client.billing_data(wide, lambda feed: read_feed(feed, wide, records.extend))
    by_day: dict[str, set[str]] = {}
    for record in records:
        by_day.setdefault(record.created_at[:10], set()).add(record.created_at)
    # A day in the middle: its neighbours are whole in the answer, however days are cut.
    days = [day for day in wide.days()[2:-2] if by_day.get(day.isoformat())]
    if not days:
        return f"no records in the last {PROBED_DAYS} days to tell by; any reading is right for sync"
    day = max(days, key=lambda one: len(by_day[one.isoformat()]))
    around = Window(day - timedelta(days=2), day + timedelta(days=2))
    records.clear()
    client.billing_data(Window(day, day), lambda feed: read_feed(feed, around, records.extend))
    found = {record.created_at for record in records}
    if not found:
        return "the end date is not included"
    outside = [time for time in found if time[:10] != day.isoformat()]
    missed = by_day[day.isoformat()] - found
    if not outside and not missed:
        return "the end date is included, and days are cut in the zone of created_at"
    return "the end date is included, and days are cut in another zone than that of created_at"
