"""The vendor's newest records, compared with the database, and single authorisations. Read-only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from typing import Any, Final

from sqlalchemy import Engine

from etl.changes import StoredRow
from etl.config.schema import Settings
from etl.date_ranges import ALL_DATES
from etl.db.engine import database_exists, read_connection
from etl.db.errors import translate_errors
from etl.db.migrate import require_schema, schema_revision
from etl.db.records import read_seconds
from etl.db.run_store import find_account, read_sync_state
from etl.errors import SourceUnavailable, UnknownRecordError, VendorError
from etl.extract.client import Client
from etl.load.diff import fill_missing_fields
from etl.load.erased import apply_erasures
from etl.model import ATTRIBUTES, CountedRecord, Feed, FeedReader, Record, RejectedRecord, raw_record
from etl.services.context import build_phone_policy, build_reader, open_client, require_account_settings
from etl.services.database import open_engine
from etl.transform.pseudonymise import PhonePolicy
from etl.transform.reader import read_feed
from etl.transform.rejection import payload_json
from etl.transform.snapshots import sort_records

STATUS_FIELDS: Final = ("created_at", "phone", "status", "status_info", "price")
"""Fields of an authorisation, in the order of the output."""


@dataclass(frozen=True, slots=True)
class VendorRecords:
    """One answer to `get_billing_record`: canonical records in the account's stored format, in any order.

    Attributes:
        records: The readable records, with repeats.
        rejected: The unreadable records.
        missing_fields: Attributes that none of the listed records has.
    """

    records: tuple[Record, ...]
    rejected: tuple[RejectedRecord, ...] = ()
    missing_fields: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RecentRecord:
    """A listed record; `stored` is False for a repeat that the database does not have."""

    record: Record
    stored: bool

    @property
    def created_at(self) -> datetime:
        """The record's time in the vendor's wall clock."""
        return datetime.fromisoformat(self.record.created_at)


@dataclass(frozen=True, slots=True)
class RecentRecords:
    """The vendor's newest records, compared with the database.

    Attributes:
        records: The readable records, newest first.
        rejected: The unreadable records.
        note: The reason why the database has no records of the account; empty if it may have some.
    """

    records: tuple[RecentRecord, ...]
    rejected: tuple[RejectedRecord, ...] = ()
    note: str = ""

    @property
    def missing(self) -> int:
        """Number of records that the database does not have."""
        return sum(not record.stored for record in self.records)


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """An account in the database, or the reason why it is not there.

    Attributes:
        id: `accounts.id`; None if the account is not in the database.
        watermark: The last day up to which all days are complete.
        note: The reason why the account is not in the database; empty if it is.
    """

    id: int | None = None
    watermark: date | None = None
    note: str = ""


def find_stored_account(engine: Engine, settings: Settings) -> StoredAccount:
    """Find an account. A missing database, schema or account is described in the result's `note`.

    Raises:
        ConfigError: The account is bound to different settings.
        DatabaseError: The database cannot be read, or has the schema of another version.
    """
    if not database_exists(engine):
        return StoredAccount(note="there is no database yet; sync creates it")
    with translate_errors(), read_connection(engine) as connection:
        if schema_revision(connection) is None:
            return StoredAccount(note="the database has no schema yet; sync creates it")
        require_schema(connection)
        account_id = find_account(connection, settings.account)
        if account_id is None:
            return StoredAccount(note=f"the account {settings.account} was never synced")
        require_account_settings(connection, settings)
        return StoredAccount(account_id, read_sync_state(connection, account_id).watermark)


def fetch_newest(client: Client, count: int, read: FeedReader) -> VendorRecords:
    """Fetch the vendor's newest records.

    Args:
        client: Client with the account's token.
        count: Number of records, from 1 to 100.
        read: Transform of a feed, to the account's zone and stored format.

    Raises:
        VendorError: The request failed or its answer is unusable.
    """

    def read_newest(feed: Feed) -> VendorRecords:
        records: list[Record] = []
        survey = read(feed, ALL_DATES, records.extend)
        return VendorRecords(tuple(records), survey.rejected, ATTRIBUTES - feed.fields)

    return client.get_newest_records(count, read_newest)


def compare_newest(engine: Engine, account: StoredAccount, newest: VendorRecords, count: int) -> RecentRecords:
    """Compare the `count` newest of the listed records with the rows of the same seconds."""
    rows: list[StoredRow] = []
    if account.id is not None and newest.records:
        seconds = {datetime.fromisoformat(record.created_at) for record in newest.records}
        with translate_errors(), read_connection(engine) as connection:
            rows = list(read_seconds(connection, account.id, seconds))
    return RecentRecords(mark_stored(newest, rows)[:count], newest.rejected, account.note)


def read_recent(settings: Settings, count: int, *, redact: Callable[[str], str]) -> RecentRecords:
    """Fetch an account's newest records and compare them with its database.

    Args:
        settings: The settings of the account.
        count: Number of records, from 1 to 100.
        redact: Removes secrets from a text.

    Raises:
        ConfigError: The account is bound to different settings.
        AuthenticationError: The vendor refused the token.
        SourceUnavailable: The request failed or its answer is unusable.
        DatabaseError: The database cannot be read, or has the schema of another version.
    """
    engine = open_engine(settings.database_url)
    account = find_stored_account(engine, settings)
    try:
        with open_client(settings, redact) as client:
            newest = fetch_newest(client, count, build_reader(settings))
    except VendorError as error:
        raise SourceUnavailable(f"the newest records cannot be fetched: {error}") from None
    return compare_newest(engine, account, newest, count)


def mark_stored(newest: VendorRecords, rows: Iterable[StoredRow]) -> tuple[RecentRecord, ...]:
    """Match listed records with rows, newest first. Pure.

    Of equal records, as many are stored as the rows that are not withdrawn count repeats.
    """
    rows = list(rows)
    counted = Counter(sort_records(list(newest.records)))
    listed = apply_erasures([CountedRecord(*pair) for pair in counted.items()], rows, newest.missing_fields)
    if newest.missing_fields:
        filled = fill_missing_fields(listed, rows, newest.missing_fields)
        listed = [CountedRecord(*pair) for pair in filled.items()]
    stored: Counter[Record] = Counter()
    for row in rows:
        stored[row.record] += 0 if row.withdrawn else row.repeats
    marked = []
    for record, repeats in listed:
        marked += [RecentRecord(record, repeat < stored[record]) for repeat in range(repeats)]
    return tuple(sorted(marked, key=lambda recent: recent.record.created_at, reverse=True))


def read_authorisation(settings: Settings, record_id: str, *, redact: Callable[[str], str]) -> dict[str, Any]:
    """Fetch one authorisation, in the account's stored format.

    Args:
        settings: The settings of the account.
        record_id: The id that the vendor returned when the authorisation was started.
        redact: Removes secrets from a text.

    Raises:
        AuthenticationError: The vendor refused the token.
        UnknownRecordError: The vendor has no authorisation with this id.
        SourceUnavailable: The request failed.
    """
    try:
        with open_client(settings, redact) as client:
            fields = client.get_status(record_id)
    except UnknownRecordError:
        raise
    except VendorError as error:
        raise SourceUnavailable(f"the authorisation cannot be fetched: {error}") from None
    return read_status(fields, record_id, settings.timezone, build_phone_policy(settings))


def read_status(fields: dict[str, Any], record_id: str, zone: tzinfo, policy: PhonePolicy) -> dict[str, Any]:
    """Read one authorisation in the account's stored format.

    Args:
        fields: The vendor's answer. If it cannot be read as a record, its values are returned redacted.
        record_id: The requested id.
        zone: Zone of the vendor's wall clock.
        policy: The stored formats of phones and codes.
    """
    raw = raw_record(**{name: fields[name] for name in STATUS_FIELDS if name in fields}, code_auth="")
    records: list[Record] = []
    read = policy.wrap_reader(lambda feed, window, keep: read_feed(feed, window, zone, keep))
    read(Feed(rows=[raw]), ALL_DATES, records.extend)
    values: dict[str, Any]
    if records:
        values = records[0]._asdict() | {"created_at": datetime.fromisoformat(records[0].created_at)}
    else:
        values = json.loads(policy.redact(payload_json(raw)))
    return {"id": fields.get("id", record_id), **{name: values.get(name) for name in STATUS_FIELDS}}


def newest_record(records: Sequence[RecentRecord]) -> RecentRecord | None:
    """The newest record; of several in the same second, preferably a record that is not stored.

    Args:
        records: Newest first.
    """
    if not records:
        return None
    newest = [recent for recent in records if recent.record.created_at == records[0].record.created_at]
    return min(newest, key=lambda recent: recent.stored)
