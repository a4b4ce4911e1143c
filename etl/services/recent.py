"""The vendor's newest records, each compared with the database, and single authorisations. Reads only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from typing import Any, Final

from sqlalchemy import Engine

from etl.changes import StoredRow
from etl.db.bindings import Binding, require_binding
from etl.db.engine import database_exists, read_connection
from etl.db.errors import translate_errors
from etl.db.migrate import require_schema, schema_revision
from etl.db.records import read_seconds
from etl.db.run_store import find_account, read_position
from etl.extract.client import Client
from etl.load.diff import fill_missing_fields
from etl.load.erased import apply_erasures
from etl.model import ATTRIBUTES, CountedRecord, DateRange, Feed, FeedReader, Record, RejectedRecord, raw_record
from etl.transform.pseudonymise import PhonePolicy
from etl.transform.reader import read_feed
from etl.transform.snapshots import sort_records
from etl.transform.unreadable import payload_json

ANY_DAY: Final = DateRange(date.min, date.max)
STATUS_FIELDS: Final = ("created_at", "phone", "status", "status_info", "price")


@dataclass(frozen=True, slots=True)
class Newest:
    """One answer to `get_billing_record`: canonical records in the account's stored form, in no order.

    Attributes:
        rejected: Listed records that cannot be read.
        lacking: Attributes that none of the listed records carries.
    """

    records: tuple[Record, ...]
    rejected: tuple[RejectedRecord, ...] = ()
    lacking: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RecentRecord:
    """A record that the vendor lists, and whether the database has it as often as it is listed."""

    record: Record
    stored: bool

    @property
    def created_at(self) -> datetime:
        """In the vendor's wall clock."""
        return datetime.fromisoformat(self.record.created_at)


@dataclass(frozen=True, slots=True)
class Recent:
    """The vendor's newest records.

    Attributes:
        records: The newest first.
        rejected: Listed records that cannot be read.
        note: Why the database could not have any of them; empty where it could.
    """

    records: tuple[RecentRecord, ...]
    rejected: tuple[RejectedRecord, ...] = ()
    note: str = ""

    @property
    def missing(self) -> int:
        """How many of the records are not in the database."""
        return sum(not record.stored for record in self.records)


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """An account as the database has it.

    Attributes:
        id: None where the database does not have it.
        watermark: The last day of the unbroken run of complete days.
        note: Why the database does not have it.
    """

    id: int | None = None
    watermark: date | None = None
    note: str = ""


def find_stored_account(engine: Engine, label: str, binding: Binding) -> StoredAccount:
    """Look up an account; no database, no schema and no such account are no errors.

    Raises:
        ConfigError: The account is bound to other settings than these.
        DatabaseError: The database cannot be read, or its schema is another version's.
    """
    if not database_exists(engine):
        return StoredAccount(note="there is no database yet; sync creates it")
    with translate_errors(), read_connection(engine) as connection:
        if schema_revision(connection) is None:
            return StoredAccount(note="the database has no schema yet; sync creates it")
        require_schema(connection)
        number = find_account(connection, label)
        if number is None:
            return StoredAccount(note=f"the account {label} was never synced")
        require_binding(connection, label, binding)
        return StoredAccount(number, read_position(connection, number).watermark)


def fetch_newest(client: Client, count: int, read: FeedReader) -> Newest:
    """The vendor's last records.

    Args:
        client: With the account's token.
        count: From 1 to 100.
        read: The transform of a feed, in the account's zone and stored form.

    Raises:
        VendorError: No usable answer came.
    """

    def read_newest(feed: Feed) -> Newest:
        records: list[Record] = []
        survey = read(feed, ANY_DAY, records.extend)
        return Newest(tuple(records), survey.rejected, ATTRIBUTES - feed.fields)

    return client.get_newest_records(count, read_newest)


def compare_newest(engine: Engine, account: StoredAccount, newest: Newest, count: int) -> Recent:
    """Compare listed records with the rows of the same seconds; the `count` newest are kept."""
    rows: list[StoredRow] = []
    if account.id is not None and newest.records:
        seconds = {datetime.fromisoformat(record.created_at) for record in newest.records}
        with translate_errors(), read_connection(engine) as connection:
            rows = read_seconds(connection, account.id, seconds)
    return Recent(mark_stored(newest, rows)[:count], newest.rejected, account.note)


def mark_stored(newest: Newest, rows: Iterable[StoredRow]) -> tuple[RecentRecord, ...]:
    """The listed records, the newest first; each is stored while current rows of its content are left. Pure."""
    rows = list(rows)
    counted = Counter(sort_records(list(newest.records)))
    listed = apply_erasures([CountedRecord(*pair) for pair in counted.items()], rows, newest.lacking)
    if newest.lacking:
        listed = [CountedRecord(*pair) for pair in fill_missing_fields(listed, rows, newest.lacking).items()]
    left: Counter[Record] = Counter()
    for row in rows:
        left[row.record] += 0 if row.withdrawn else row.repeats
    marked = []
    for record, repeats in listed:
        marked += [RecentRecord(record, number < left[record]) for number in range(repeats)]
    return tuple(sorted(marked, key=lambda one: one.record.created_at, reverse=True))


def read_status(fields: dict[str, Any], record_id: str, zone: tzinfo, protection: PhonePolicy) -> dict[str, Any]:
    """One authorisation, in the form in which a record of the account is stored.

    Args:
        fields: As the vendor has it. What cannot be read as a record is left as the vendor spells it.
        record_id: The id that was asked for.
        zone: Of the vendor's wall clock.
        protection: The account's stored form.
    """
    raw = raw_record(**{name: fields[name] for name in STATUS_FIELDS if name in fields}, code_auth="")
    records: list[Record] = []
    read = protection.wrap_reader(lambda feed, window, keep: read_feed(feed, window, zone, keep))
    read(Feed(rows=[raw]), ANY_DAY, records.extend)
    shown: dict[str, Any]
    if records:
        shown = records[0]._asdict() | {"created_at": datetime.fromisoformat(records[0].created_at)}
    else:
        shown = json.loads(protection.redact(payload_json(raw)))
    return {"id": fields.get("id", record_id), **{name: shown.get(name) for name in STATUS_FIELDS}}


def newest_record(records: Sequence[RecentRecord]) -> RecentRecord | None:
    """The newest record; of several of the same second one that is not stored."""
    if not records:
        return None
    latest = [one for one in records if one.record.created_at == records[0].record.created_at]
    return min(latest, key=lambda one: one.stored)
