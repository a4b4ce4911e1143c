"""The current schema, equal to the result of the migrations.

Vendor times are the vendor's wall clock, to the second. The program's own timestamps are UTC, to the microsecond,
without a zone, which two of the three databases cannot store. Money is NUMERIC; on SQLite, which would store it as a
binary float, it is text of six decimal places, and the ids that others name are AUTOINCREMENT, since it would give the
id of a deleted row to the next one. Engine and collation for MariaDB are added on creation
(`DatabaseDialect.table_options`): declared here, every start would load SQLAlchemy's MySQL dialects.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from etl.db.types import BigId, LongText, Money, UtcTime, WallClock, key_text

SCHEMA_REVISION: Final = "0011"
"""The newest revision in `migrations/versions`, available without loading Alembic; a test compares the two."""


# Indexes are constraints where possible: MariaDB commits each statement, and a table is then a single statement.
metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def _account(**options: Any) -> Column[int]:
    account = ForeignKey("accounts.id")
    return Column("account_id", Integer, account, nullable=False, comment="accounts.id", **options)


def _revision(comment: str) -> Column[int]:
    return Column("revision", BigInteger, nullable=False, server_default="0", comment=comment)


accounts = Table(
    "accounts",
    metadata,
    Column("id", Integer, primary_key=True, comment="The number by which the other tables name the account"),
    Column("label", String(255), nullable=False, unique=True, comment="BILLING_ACCOUNT"),
    Column("created_at", UtcTime(), nullable=False, comment="UTC; when its first run began"),
    Column("phones", String(8), nullable=False, server_default="plain", comment="plain, masked or keyed"),
    Column("phones_key_id", String(8), comment="Of the key of keyed phones; no part of it"),
    Column("codes", String(4), nullable=False, server_default="keep", comment="keep or drop"),
    Column("retired_at", UtcTime(), comment="UTC; no sync fetches it since. Empty while it is in use"),
    Column(
        "dates_mean",
        String(16),
        comment="How the vendor was seen to cut days: included or excluded (the end date), or other_zone",
    ),
    Column("dates_seen_at", UtcTime(), comment="UTC; when check last determined dates_mean"),
    Column("token_fingerprint", String(64), comment="One-way hash of the token; the token itself is not stored"),
    Column(
        "timezone", String(64), comment="The IANA zone of the vendor's wall clock: BILLING_TIMEZONE of its first run"
    ),
    Column(
        "timezone_to",
        String(64),
        comment="The zone that account set-timezone is turning created_at_utc to; empty once it is done",
    ),
    Column(
        "deletion_started_at",
        UtcTime(),
        comment="UTC; when account delete began. Running it again deletes the rest",
    ),
    Column(
        "currency",
        String(3),
        nullable=False,
        server_default="RUB",
        comment="ISO 4217; BILLING_CURRENCY of the last run",
    ),
    Column(
        "vat_basis_points",
        Integer,
        comment="Hundredths of a percent; BILLING_VAT_RATE of the last run, empty without one",
    ),
    Column(
        "vat",
        String(8),
        nullable=False,
        server_default="included",
        comment="included in the prices, or excluded: it comes on top. BILLING_VAT of the last run",
    ),
    comment="The vendor accounts whose charges are stored",
)

billing_records = Table(
    "billing_records",
    metadata,
    # No foreign key: checking it takes a third of a bulk load on PostgreSQL, and only one module inserts rows.
    Column("account_id", Integer, primary_key=True, autoincrement=False, comment="accounts.id"),
    Column("created_at", WallClock(), primary_key=True, comment="The vendor's wall clock"),
    Column(
        "phone",
        key_text(255),
        primary_key=True,
        comment="+7XXXXXXXXXX of a Russian number, any other as the vendor gives it; masked or keyed where accounts.phones says so",
    ),
    Column("code_auth", key_text(255), primary_key=True, comment="Empty where there is no code"),
    Column(
        "ordinal",
        Integer,
        primary_key=True,
        autoincrement=False,
        comment="From 1: distinguishes records of one second, phone and code",
    ),
    Column("status", BigInteger, comment="1 is delivered; nothing else is documented"),
    Column(
        "status_info",
        LongText(),
        nullable=False,
        comment="The vendor's description of the status; empty if there is none",
    ),
    Column(
        "price", Money(18), nullable=False, comment="Of one charge, in the account's currency; negative is a refund"
    ),
    Column("repeats", Integer, nullable=False, comment="Number of identical records that the vendor lists"),
    Column(
        "utc_offset",
        SmallInteger,
        nullable=False,
        comment="Minutes that created_at is ahead of UTC: from the vendor's offset, else from BILLING_TIMEZONE",
    ),
    Column("first_seen_at", UtcTime(), nullable=False, comment="UTC"),
    Column("updated_at", UtcTime(), comment="UTC; when the row last changed. Empty before the first change"),
    Column("withdrawn_at", UtcTime(), comment="UTC; set while the vendor no longer lists the record"),
    Column("channel", SmallInteger, comment="channels.id, by the rules of the account; empty until it is classified"),
    # Only PostgreSQL sorts the whole table for the newest rows of an account without it.
    Index(None, "created_at", info={"dialect": "postgresql"}).ddl_if(dialect="postgresql"),
    sqlite_with_rowid=False,
    comment="One row per different charge, withdrawn ones included",
)

channels = Table(
    "channels",
    metadata,
    Column(
        "id",
        SmallInteger,
        primary_key=True,
        autoincrement=False,
        comment="Number of the channel, as in billing_records.channel",
    ),
    Column("name", String(64), nullable=False, unique=True, comment="The channel of a rule, or unknown"),
    comment="All channels that rules have named",
)

sync_runs = Table(
    "sync_runs",
    metadata,
    Column("id", BigId, primary_key=True, comment="Ascending: a newer run has a higher number"),
    _account(),
    Column("command", String(16), nullable=False, comment="sync, backfill or accept"),
    Column("program_version", String(32), nullable=False, comment="Of billing-etl"),
    Column("started_at", UtcTime(), nullable=False, comment="UTC"),
    Column("finished_at", UtcTime(), comment="UTC"),
    Column("outcome", String(16), nullable=False, comment="running, done, look, failed, stopped or abandoned"),
    Column("exit_code", SmallInteger, comment="What the process ended with"),
    Column("error", Text, comment="One line, without secrets"),
    Column("first_day", Date, comment="First requested day"),
    Column("last_day", Date, comment="Last requested day"),
    Column("sources", String(16), nullable=False, comment="json, csv or both"),
    Column("days", Integer, nullable=False, comment="Days fetched and compared"),
    Column("new", BigInteger, nullable=False, comment="Records stored for the first time"),
    Column("changed", BigInteger, nullable=False, comment="Records stored with other attributes"),
    Column("withdrawn", BigInteger, nullable=False, comment="Records that the vendor no longer listed"),
    Column("unchanged", BigInteger, nullable=False, comment="Records equal to their rows"),
    Column("rejected", BigInteger, nullable=False, comment="Records that could not be read and were quarantined"),
    Column("suspect_days", Integer, nullable=False, comment="Days whose answer was implausible: their rows were kept"),
    Column("largest_json", BigInteger, comment="Records in the largest JSON answer of the run"),
    Column("largest_csv", BigInteger, comment="Records in the largest CSV export of the run"),
    UniqueConstraint("account_id", "id"),
    sqlite_autoincrement=True,
    comment="The history of runs",
)

sync_state = Table(
    "sync_state",
    metadata,
    _account(primary_key=True),
    Column("first_day", Date, comment="The first day ever synced: the unbroken run begins here"),
    Column("last_synced_date", Date, comment="The watermark: the last day of the unbroken run of complete days"),
    Column("synced_until_utc", UtcTime(), comment="The end of the watermark's day"),
    Column("settled_through", Date, comment="The last day that the lookback no longer fetches again"),
    Column("last_success_at", UtcTime(), comment="UTC"),
    Column("fence", BigInteger, nullable=False, comment="The number of the newest run; an older one may not write"),
    _revision("Grows with every transaction that changes stored days"),
    Column("open_days", Integer, nullable=False, server_default="0", comment="Stored days that are not complete"),
    Column(
        "suspect_days", Integer, nullable=False, server_default="0", comment="Days whose latest answer was implausible"
    ),
    comment="One row per account: how far its days are complete",
)

synced_days = Table(
    "synced_days",
    metadata,
    _account(primary_key=True),
    Column("day", Date, primary_key=True, comment="In the vendor's wall clock"),
    Column("digest", String(32), nullable=False, comment="Of the day's records in canonical form"),
    Column("records", BigInteger, nullable=False, comment="As the vendor lists them, repeats included"),
    Column("spend", Money(38), nullable=False, comment="Price times repeats of the day's records"),
    Column("source", String(4), nullable=False, comment="json or csv"),
    Column("stored_at", UtcTime(), nullable=False, comment="UTC; when this state was stored"),
    Column("first_closed_at", UtcTime(), comment="UTC; when the day was first stored whole. Open until then"),
    Column("first_closed_spend", Money(38), comment="The spend when the day was first stored whole"),
    Column("restated_at", UtcTime(), comment="UTC; when the day last changed after first_closed_at"),
    Column("suspect_since", UtcTime(), comment="UTC; set while the vendor's answer is implausible"),
    Column("suspect_reason", Text, comment="Why the vendor's answer is implausible"),
    Column("purged_at", UtcTime(), comment="UTC; when the day's records were purged. The other columns stay"),
    _revision("sync_state.revision of the last transaction that changed the day or its records"),
    Column("delivered", BigInteger, nullable=False, server_default="0", comment="Those of status 1"),
    Column(
        "repeated_spend",
        Money(38),
        nullable=False,
        server_default="0.000000",
        comment="The part of spend due to records that are listed more than once",
    ),
    Column(
        "channel_rules",
        String(16),
        comment="A digest of the rules by which the day's records were classified; empty until they are",
    ),
    comment="The day ledger: totals of each day, and whether it is complete",
)

hourly_totals = Table(
    "hourly_totals",
    metadata,
    _account(primary_key=True),
    Column("day", Date, primary_key=True, comment="In the vendor's wall clock"),
    Column("hour", SmallInteger, primary_key=True, autoincrement=False, comment="0 to 23, in the vendor's wall clock"),
    Column("records", BigInteger, nullable=False, comment="As the vendor lists them, repeats included"),
    Column("delivered", BigInteger, nullable=False, comment="Those of status 1"),
    Column("spend", Money(38), nullable=False, comment="Price times repeats of the hour's records"),
    comment="Totals of each hour that has records; written with the day",
)

operator_totals = Table(
    "operator_totals",
    metadata,
    _account(primary_key=True),
    Column("day", Date, primary_key=True, comment="In the vendor's wall clock"),
    Column(
        "operator",
        String(500),
        primary_key=True,
        comment="By the numbering plan; empty for numbers that are not in it",
    ),
    Column("records", BigInteger, nullable=False, comment="As the vendor lists them, repeats included"),
    Column("delivered", BigInteger, nullable=False, comment="Those of status 1"),
    Column("spend", Money(38), nullable=False, comment="Price times repeats of the operator's records"),
    comment="Totals of each operator that has records; written with the day, and when the numbering plan changes",
)

channel_totals = Table(
    "channel_totals",
    metadata,
    _account(primary_key=True),
    Column("day", Date, primary_key=True, comment="In the vendor's wall clock"),
    Column("channel", SmallInteger, primary_key=True, autoincrement=False, comment="channels.id"),
    Column("records", BigInteger, nullable=False, comment="As the vendor lists them, repeats included"),
    Column("delivered", BigInteger, nullable=False, comment="Those of status 1"),
    Column("spend", Money(38), nullable=False, comment="Price times repeats of the channel's records"),
    comment="Totals of each channel that has records; written with the day, and when it is classified again",
)

purged_months = Table(
    "purged_months",
    metadata,
    _account(primary_key=True),
    Column("month", Date, primary_key=True, comment="The month's first day, in the vendor's wall clock"),
    Column("records", BigInteger, nullable=False, comment="Charges as the vendor listed them, repeats included"),
    Column("delivered", BigInteger, nullable=False, comment="Those of status 1"),
    Column("spend", Money(38), nullable=False, comment="Price times repeats of the purged records"),
    Column("restated", Money(38), nullable=False, comment="Change of the spend by the purged lines of the journal"),
    Column("purged_at", UtcTime(), nullable=False, comment="UTC; when the last of them were purged"),
    comment="Totals of the purged records of a month",
)

purged_corrections = Table(
    "purged_corrections",
    metadata,
    _account(primary_key=True),
    Column("day", Date, primary_key=True, comment="The purged day that had changed"),
    Column(
        "closing",
        Integer,
        primary_key=True,
        autoincrement=False,
        comment="closed_months.closing of the final booking that the changes followed",
    ),
    Column("period", Date, primary_key=True, comment="First day of the month of restatements.restated_at"),
    Column("delta", Money(38), nullable=False, comment="Change of the day's spend by the purged lines of the journal"),
    comment="Changes of purged days after their month was booked",
)

closed_months = Table(
    "closed_months",
    metadata,
    _account(primary_key=True),
    Column("month", Date, primary_key=True, comment="The month's first day, in the vendor's wall clock"),
    Column(
        "closing",
        Integer,
        primary_key=True,
        autoincrement=False,
        comment="From 1: a later one replaces an earlier one, which stays on file",
    ),
    Column("kind", String(16), nullable=False, comment="final (every day was closed) or provisional"),
    Column("closed_at", UtcTime(), nullable=False, comment="UTC"),
    Column("records", BigInteger, nullable=False, comment="Charges as the vendor listed them then, repeats included"),
    Column("booked", Money(38), nullable=False, comment="The month's spend then"),
    Column("currency", String(3), nullable=False, comment="accounts.currency then"),
    Column("vat_basis_points", Integer, comment="accounts.vat_basis_points then"),
    Column("vat", String(8), nullable=False, comment="accounts.vat then"),
    Column(
        "journal_id",
        BigInteger,
        nullable=False,
        comment="restatements.id of the last line of the account then; 0 where there was none",
    ),
    comment="Totals of a month when it was booked",
)

restatements = Table(
    "restatements",
    metadata,
    Column("id", BigId, primary_key=True, comment="Ascending in the order of the changes"),
    _account(),
    Column("run_id", BigInteger, nullable=False, comment="sync_runs.id of the run that found the change"),
    Column("day", Date, nullable=False, comment="The day that changed"),
    Column("restated_at", UtcTime(), nullable=False, comment="UTC"),
    Column("kind", String(16), nullable=False, comment="late, corrected, withdrawn or returned"),
    Column("created_at", WallClock(), nullable=False, comment="Of the record; the vendor's wall clock"),
    Column("phone", String(255), nullable=False, comment="Of the record"),
    Column("code_auth", String(255), nullable=False, comment="Of the record"),
    Column("ordinal", Integer, nullable=False, comment="Of the record"),
    Column("status_before", BigInteger, comment="Empty if the record was not listed"),
    Column("status_info_before", LongText(), comment="Empty if the record was not listed"),
    Column("price_before", Money(18), comment="Empty if the record was not listed"),
    Column("repeats_before", Integer, nullable=False, comment="0 if the record was not listed"),
    Column("status_after", BigInteger, comment="Empty if the record is no longer listed"),
    Column("status_info_after", LongText(), comment="Empty if the record is no longer listed"),
    Column("price_after", Money(18), comment="Empty if the record is no longer listed"),
    Column("repeats_after", Integer, nullable=False, comment="0 if the record is no longer listed"),
    Column("delta", Money(38), nullable=False, comment="Change of the day's spend"),
    UniqueConstraint("account_id", "day", "id"),
    # For point-in-time queries, which look up the lines of a record.
    Index(None, "account_id", "created_at"),
    sqlite_autoincrement=True,
    comment="The journal: every change of a day after it was closed",
)

rejected_records = Table(
    "rejected_records",
    metadata,
    Column("id", BigId, primary_key=True, comment="Ascending in the order in which they were found"),
    _account(),
    Column("day", Date, comment="Empty where the record's day cannot be read"),
    Column("asked_first", Date, nullable=False, comment="First requested day of the answer with the record"),
    Column("asked_last", Date, nullable=False, comment="Last requested day of the answer with the record"),
    Column("reason", String(255), nullable=False, comment="Why the record cannot be stored in billing_records"),
    Column("payload", LongText(), nullable=False, comment="The record as the vendor sent it"),
    Column(
        "payload_digest", String(32), nullable=False, comment="Digest of the payload: equal payloads are stored once"
    ),
    Column("first_seen_at", UtcTime(), nullable=False, comment="UTC"),
    Column("acknowledged_at", UtcTime(), comment="UTC; when a person acknowledged it. Empty until then"),
    UniqueConstraint("account_id", "payload_digest"),
    Index(None, "account_id", "first_seen_at"),  # for pruning the oldest rows
    sqlite_autoincrement=True,
    comment="The quarantine: records of the vendor that cannot be stored in billing_records",
)

balance_snapshots = Table(
    "balance_snapshots",
    metadata,
    Column("id", BigId, primary_key=True, comment="Ascending in the order in which they were taken"),
    _account(),
    Column("taken_at", UtcTime(), nullable=False, comment="UTC"),
    Column(
        "balance", Money(18), nullable=False, comment="Balance that get_balance reported, in the account's currency"
    ),
    Column("recorded_spend", Money(38), nullable=False, comment="The spend on record at that moment"),
    Column("run_id", BigInteger, comment="sync_runs.id of the run that took it; empty for the command balance"),
    Column("moment", String(6), comment="before or after that run; empty for the command balance"),
    Column(
        "restated_up",
        Money(38),
        comment="Sum of the growth of closed days that changed, so far; empty up to revision 0005",
    ),
    Column("restated_down", Money(38), comment="The same of closed days whose spend fell; at most zero"),
    Column("journal_id", BigInteger, comment="restatements.id of the last line counted in both; 0 where there is none"),
    Column(
        "unproven_days",
        Integer,
        nullable=False,
        server_default="0",
        comment="Number of suspect or incomplete past days at that moment: with any, recorded_spend may differ from the vendor's",
    ),
    UniqueConstraint("account_id", "taken_at", "id"),
    sqlite_autoincrement=True,
    comment="Balances of the account that the vendor reported",
)

balance_top_ups = Table(
    "balance_top_ups",
    metadata,
    Column("id", BigId, primary_key=True, comment="Ascending in the order in which they were noted"),
    _account(),
    Column("at", UtcTime(), nullable=False, comment="UTC; when the money came to the account"),
    Column("amount", Money(18), nullable=False, comment="In the account's currency"),
    Column("noted_at", UtcTime(), nullable=False, comment="UTC; when the top-up was recorded"),
    UniqueConstraint("account_id", "at", "id"),
    sqlite_autoincrement=True,
    comment="Money paid in, as recorded by hand: the vendor's API does not list it",
)

numbering_ranges = Table(
    "numbering_ranges",
    metadata,
    # MariaDB uses no index to compare with another table's column by <= alone; block gives it an equality.
    Column(
        "block", key_text(7), primary_key=True, comment="+7 and five digits: no row crosses a block of 100,000 numbers"
    ),
    Column("first_phone", key_text(12), primary_key=True, comment="+7XXXXXXXXXX"),
    Column("last_phone", key_text(12), nullable=False, comment="+7XXXXXXXXXX; this one included"),
    Column(
        "operator",
        String(500),
        nullable=False,
        comment="Operator to which the range is assigned; numbers may be ported",
    ),
    Column("region", String(500), nullable=False, comment="As in the plan"),
    Column("inn", String(12), comment="The operator's taxpayer number; older copies of the plan have none"),
    Column("file_name", String(255), nullable=False, comment="Of the file it was read from, without the folder"),
    Column("file_changed_at", UtcTime(), nullable=False, comment="UTC; how old that file was"),
    Column("imported_at", UtcTime(), nullable=False, comment="UTC"),
    comment="The numbering plan of Russia: ranges of numbers and their operators, without overlaps",
)
