"""Rows by their natural key, and totals of a day for the views: by day, by hour and by operator.

Rejected records get the time at which a person acknowledged them.

The table `billing_records` is rewritten: PostgreSQL and SQLite do it in the migration's transaction. MariaDB commits each
statement: there a copy is filled, compared and exchanged for the table in one statement, and a killed migration starts
again with a new copy.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal, localcontext
from itertools import groupby
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

log = logging.getLogger("etl.migrations")

MARIADB = ("mysql", "mariadb")
ON_MARIADB: dict[str, Any] = {
    f"{backend}_{option}": value
    for backend in MARIADB
    for option, value in (("charset", "utf8mb4"), ("collate", "utf8mb4_bin"), ("engine", "InnoDB"))
}
LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), *MARIADB)
UTC_TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), *MARIADB)
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
PRICE = sa.Numeric(18, 6).with_variant(sa.Text(), "sqlite")
SUM = sa.Numeric(38, 6).with_variant(sa.Text(), "sqlite")

RECORDS = "billing_records"
# Names that nobody gives to a table of their own: a killed migration leaves such tables, and the next one drops them.
COPY, REPLACED = f"{RECORDS}_0007_copy", f"{RECORDS}_0007_replaced"
KEY = ("account_id", "created_at", "phone", "code_auth", "ordinal")
RECORDS_COMMENT = "One row per different charge, withdrawn ones included"
PHONE = (
    "+7XXXXXXXXXX of a Russian number, any other as the vendor gives it; masked or keyed where accounts.phones says so"
)
CODE = "Empty where there is no code"
OFFSET = "Minutes that created_at is ahead of UTC: from the vendor's offset, else from BILLING_TIMEZONE"
UPDATED = "UTC; when the row last changed. Empty before the first change"
ORDINAL = "From 1: distinguishes records of one second, phone and code"
PRECISION = 60


def column(name: str, type_: Any, comment: str | None, *, nullable: bool = False, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=nullable, comment=comment, **options)


def common_columns() -> list[sa.Column[Any]]:
    """The columns between the key and the UTC time, which stay as they are."""
    return [
        column("status", sa.BigInteger, "1 is delivered; nothing else is documented", nullable=True),
        column("status_info", LONG_TEXT, "The vendor's description of the status; empty if there is none"),
        column("price", PRICE, "Of one charge, in the account's currency; negative is a refund"),
        column("repeats", sa.Integer, "Number of identical records that the vendor lists"),
    ]


def key_columns(ordinal: str) -> list[sa.Column[Any]]:
    return [
        column("account_id", sa.Integer, "accounts.id", autoincrement=False),
        column("created_at", sa.DateTime, "The vendor's wall clock"),
        column("phone", sa.String(255), PHONE),
        column("code_auth", sa.String(255), CODE),
        column("ordinal", sa.Integer, ordinal, autoincrement=False),
    ]


def create_copy(name: str) -> None:
    """Create the new layout, on SQLite and MariaDB."""
    op.create_table(
        name,
        *key_columns(ORDINAL),
        *common_columns(),
        column("utc_offset", sa.SmallInteger, OFFSET),
        column("first_seen_at", UTC_TIME, "UTC"),
        column("updated_at", UTC_TIME, UPDATED, nullable=True),
        column("withdrawn_at", UTC_TIME, "UTC; set while the vendor no longer lists the record", nullable=True),
        sa.PrimaryKeyConstraint(*KEY, name=f"pk_{RECORDS}"),
        comment=RECORDS_COMMENT,
        sqlite_with_rowid=False,
        **ON_MARIADB,
    )


def create_old(name: str) -> None:
    """Create the layout of revision 0006, on SQLite and MariaDB."""
    op.create_table(
        name,
        column("id", BIG_ID, "Stays with the record whatever changes of it"),
        *key_columns("Among different records of one second, phone and code"),
        *common_columns(),
        column("created_at_utc", sa.DateTime, "created_at, turned into UTC by BILLING_TIMEZONE"),
        column("first_seen_at", UTC_TIME, "UTC"),
        column("updated_at", UTC_TIME, "UTC"),
        column("withdrawn_at", UTC_TIME, "UTC; set while the vendor no longer lists the record", nullable=True),
        sa.PrimaryKeyConstraint("id", name=f"pk_{RECORDS}"),
        sa.UniqueConstraint(*KEY, name=f"uq_{RECORDS}_account_id"),
        comment=RECORDS_COMMENT,
        **ON_MARIADB,
    )


def is_offline() -> bool:
    return context.is_offline_mode()


def backend() -> str:
    return op.get_context().dialect.name


def existing_columns(table: str) -> set[str]:
    """Names of a table's columns; none offline, where the script is for an empty database."""
    return set() if is_offline() else {each["name"] for each in sa.inspect(op.get_bind()).get_columns(table)}


def amount_parts(amount: str) -> tuple[str, ...]:
    """Numbers that the database adds exactly: units and millionths of SQLite's texts."""
    if backend() != "sqlite":
        return (amount,)
    sign = f"(CASE WHEN {amount} LIKE '-%' THEN -1 ELSE 1 END)"
    return f"CAST({amount} AS INTEGER)", f"({sign} * CAST(substr({amount}, -6) AS INTEGER))"


def join_amount(parts: Sequence[Any]) -> Decimal:
    with localcontext(prec=PRECISION):
        units, millionths = (*map(Decimal, parts), Decimal(0))[:2]
        return units + millionths / 1_000_000


def record_totals(table: str) -> tuple[int, int, int, Decimal]:
    """Rows, current rows, records of the current rows, and their spend."""
    parts = ", ".join(f"COALESCE(SUM({part} * repeats), 0)" for part in amount_parts("price"))
    current = "CASE WHEN withdrawn_at IS NULL THEN {} ELSE 0 END"
    query = f"""SELECT COUNT(*), COALESCE(SUM({current.format("1")}), 0), COALESCE(SUM({current.format("repeats")}), 0), {parts}
FROM {table}"""  # noqa: S608 - constants
    rows, visible, records, *amount = op.get_bind().execute(sa.text(query)).one()
    return int(rows), int(visible), int(records), join_amount(amount)


def require_equal(before: tuple[int, int, int, Decimal], after: tuple[int, int, int, Decimal]) -> None:
    if before != after:
        message = f"the rewritten {RECORDS} differs: (rows, current rows, records, spend) were {before}, are {after}"
        raise RuntimeError(message)


def rewrite_on_postgresql() -> None:
    op.execute(
        f"""ALTER TABLE {RECORDS}
  DROP CONSTRAINT pk_{RECORDS}, DROP CONSTRAINT uq_{RECORDS}_account_id, DROP COLUMN id,
  ALTER COLUMN phone TYPE VARCHAR(255) COLLATE "C",
  ALTER COLUMN code_auth TYPE VARCHAR(255) COLLATE "C",
  ALTER COLUMN created_at_utc TYPE SMALLINT
    USING CAST(ROUND(EXTRACT(EPOCH FROM created_at - created_at_utc) / 60) AS SMALLINT),
  ALTER COLUMN updated_at DROP NOT NULL,
  ALTER COLUMN updated_at TYPE TIMESTAMP WITHOUT TIME ZONE USING NULLIF(updated_at, first_seen_at)"""
    )
    collate_plan(' COLLATE "C"')
    op.alter_column(RECORDS, "created_at_utc", new_column_name="utc_offset")
    op.create_primary_key(f"pk_{RECORDS}", RECORDS, list(KEY))
    op.create_index(f"ix_{RECORDS}_created_at", RECORDS, ["created_at"])
    for name, comment in (("ordinal", ORDINAL), ("utc_offset", OFFSET), ("updated_at", UPDATED)):
        op.alter_column(RECORDS, name, comment=comment)


PLAN = {"block": 7, "first_phone": 12, "last_phone": 12}
"""Columns of the numbering plan that are compared with a phone, and their lengths."""


def collate_plan(collation: str) -> None:
    """Give the numbering plan the collation of the phones: an index is of no use for texts of another one."""
    changes = ", ".join(f"ALTER COLUMN {name} TYPE VARCHAR({size}){collation}" for name, size in PLAN.items())
    op.execute(f"ALTER TABLE numbering_ranges {changes}")


def restore_on_postgresql() -> None:
    collate_plan("")
    op.drop_index(f"ix_{RECORDS}_created_at", RECORDS)
    op.execute(
        f"""ALTER TABLE {RECORDS}
  DROP CONSTRAINT pk_{RECORDS}, ADD COLUMN id BIGSERIAL NOT NULL,
  ALTER COLUMN phone TYPE VARCHAR(255), ALTER COLUMN code_auth TYPE VARCHAR(255),
  ALTER COLUMN utc_offset TYPE TIMESTAMP WITHOUT TIME ZONE USING created_at - make_interval(mins => utc_offset),
  ALTER COLUMN updated_at TYPE TIMESTAMP WITHOUT TIME ZONE USING COALESCE(updated_at, first_seen_at),
  ALTER COLUMN updated_at SET NOT NULL"""
    )
    op.alter_column(RECORDS, "utc_offset", new_column_name="created_at_utc")
    op.create_primary_key(f"pk_{RECORDS}", RECORDS, ["id"])
    op.create_unique_constraint(f"uq_{RECORDS}_account_id", RECORDS, list(KEY))
    for name, comment in (
        ("id", "Stays with the record whatever changes of it"),
        ("ordinal", "Among different records of one second, phone and code"),
        ("created_at_utc", "created_at, turned into UTC by BILLING_TIMEZONE"),
        ("updated_at", "UTC"),
    ):
        op.alter_column(RECORDS, name, comment=comment)


KEPT = ", ".join((*KEY, "status", "status_info", "price", "repeats"))
NEW_ROWS = {
    "sqlite": f"""INSERT INTO {{copy}} ({KEPT}, utc_offset, first_seen_at, updated_at, withdrawn_at)
SELECT {KEPT}, CAST(ROUND((strftime('%s', created_at) - strftime('%s', created_at_utc)) / 60.0) AS INTEGER),
  first_seen_at, NULLIF(updated_at, first_seen_at), withdrawn_at
FROM {RECORDS} ORDER BY {", ".join(KEY)}""",  # noqa: S608 - constants
    "mariadb": f"""INSERT INTO {{copy}} ({KEPT}, utc_offset, first_seen_at, updated_at, withdrawn_at)
SELECT {KEPT}, ROUND(TIMESTAMPDIFF(SECOND, created_at_utc, created_at) / 60),
  first_seen_at, NULLIF(updated_at, first_seen_at), withdrawn_at
FROM {RECORDS} ORDER BY {", ".join(KEY)}""",  # noqa: S608 - constants
}
OLD_ROWS = {
    "sqlite": f"""INSERT INTO {{copy}} ({KEPT}, created_at_utc, first_seen_at, updated_at, withdrawn_at)
SELECT {KEPT}, datetime(created_at, (0 - utc_offset) || ' minutes'), first_seen_at, COALESCE(updated_at, first_seen_at),
  withdrawn_at
FROM {RECORDS} ORDER BY {", ".join(KEY)}""",  # noqa: S608 - constants
    "mariadb": f"""INSERT INTO {{copy}} ({KEPT}, created_at_utc, first_seen_at, updated_at, withdrawn_at)
SELECT {KEPT}, TIMESTAMPADD(MINUTE, 0 - utc_offset, created_at), first_seen_at, COALESCE(updated_at, first_seen_at),
  withdrawn_at
FROM {RECORDS} ORDER BY {", ".join(KEY)}""",  # noqa: S608 - constants
}
"""By database; MySQL's is MariaDB's."""


def fill_and_exchange(create: Any, rows: dict[str, str]) -> None:
    """Replace the table by a filled copy of another layout, on SQLite and MariaDB."""
    copy, old = COPY, REPLACED
    if not is_offline():
        op.execute(f"DROP TABLE IF EXISTS {copy}")
    create(copy)
    op.execute(rows["sqlite" if backend() == "sqlite" else "mariadb"].format(copy=copy))
    if not is_offline():
        require_equal(record_totals(RECORDS), record_totals(copy))
    if backend() == "sqlite":
        op.drop_table(RECORDS)
        op.rename_table(copy, RECORDS)
    else:
        # One statement: there is no moment without a table of this name, nor with rows of both.
        op.execute(f"RENAME TABLE {RECORDS} TO {old}, {copy} TO {RECORDS}")
        op.drop_table(old)


def rewrite_records() -> None:
    if not is_offline():
        if "id" not in existing_columns(RECORDS):
            op.execute(f"DROP TABLE IF EXISTS {REPLACED}")  # left by a migration that was killed on MariaDB
            return
        announce()
    if backend() != "postgresql":
        fill_and_exchange(create_copy, NEW_ROWS)
        return
    before = None if is_offline() else record_totals(RECORDS)
    rewrite_on_postgresql()
    if before is not None:
        require_equal(before, record_totals(RECORDS))


SECONDS_PER_MILLION = {"sqlite": 8, "postgresql": 6, "mariadb": 16, "mysql": 16}
"""Twice what 1.2 million rows took on two cores; the room is that of the table and its indexes once more."""


def announce() -> None:
    """Say how long the rewrite takes and how much room it needs, before it begins."""
    rows = op.get_bind().execute(sa.text(f"SELECT COUNT(*) FROM {RECORDS}")).scalar_one()  # noqa: S608 - a constant
    if rows:
        seconds = max(1, round(rows / 1_000_000 * SECONDS_PER_MILLION[backend()]))
        log.warning(
            "rewriting %s rows of %s: about %d s and %d MB of free space; a killed migration loses nothing",
            f"{rows:,}", RECORDS, seconds, max(1, round(rows * 0.00025)),
        )  # fmt: skip


def new_columns() -> dict[str, list[sa.Column[Any]]]:
    return {
        "synced_days": [
            column("delivered", sa.BigInteger, "Those of status 1", server_default="0"),
            column(
                "repeated_spend", SUM, "The part of spend due to records that are listed more than once",
                server_default="0.000000",
            ),
        ],
        "sync_state": [
            column("open_days", sa.Integer, "Stored days that are not complete", server_default="0"),
            column("suspect_days", sa.Integer, "Days whose latest answer was implausible", server_default="0"),
        ],
        "rejected_records": [
            column(
                "acknowledged_at", UTC_TIME, "UTC; when a person acknowledged it. Empty until then", nullable=True
            ),
        ],
    }  # fmt: skip


def create_totals(name: str, comment: str, key: sa.Column[Any], records: str) -> None:
    op.create_table(
        name,
        column("account_id", sa.Integer, "accounts.id", autoincrement=False),
        column("day", sa.Date, "In the vendor's wall clock"),
        key,
        column("records", sa.BigInteger, "As the vendor lists them, repeats included"),
        column("delivered", sa.BigInteger, "Those of status 1"),
        column("spend", SUM, f"Price times repeats of the {records} records"),
        sa.PrimaryKeyConstraint("account_id", "day", key.name, name=f"pk_{name}"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=f"fk_{name}_account_id"),
        if_not_exists=True,
        comment=comment,
        **ON_MARIADB,
    )


DAY = {"sqlite": "date(r.created_at)"}
HOUR = {"sqlite": "CAST(substr(r.created_at, 12, 2) AS INTEGER)", "postgresql": "CAST(EXTRACT(HOUR FROM r.created_at) AS INTEGER)"}  # fmt: skip
FULL_NUMBER = {"sqlite": f"r.phone GLOB '+7{'[0-9]' * 10}'", "postgresql": "r.phone ~ '^[+]7[0-9]{10}$'"}


def sum_records(*groups: str) -> list[Any]:
    """Sum the current rows of the days that are not purged: groups, records, delivered, spend, repeated spend."""
    price = amount_parts("r.price")
    sums = ", ".join(f"SUM({part} * {times})" for times in ("r.repeats", "(r.repeats - 1)") for part in price)
    day = DAY.get(backend(), "CAST(r.created_at AS DATE)")
    selected = ", ".join((day, *groups))
    query = f"""SELECT r.account_id, {selected}, SUM(r.repeats), SUM(CASE WHEN r.status = 1 THEN r.repeats ELSE 0 END), {sums}
FROM {RECORDS} r WHERE r.withdrawn_at IS NULL GROUP BY r.account_id, {selected} ORDER BY r.account_id, {selected}"""  # noqa: S608 - constants
    keys, width = 2 + len(groups), len(price)
    return [
        (*row[:keys], *map(int, row[keys : keys + 2]), join_amount(row[keys + 2 :][:width]), join_amount(row[keys + 2 + width :]))
        for row in op.get_bind().execute(sa.text(query))
    ]  # fmt: skip


def fill_totals() -> None:
    """Fill the ledger's new columns and both tables of totals from the rows."""
    bind = op.get_bind()
    ledger = sa.table("synced_days", *(sa.column(name) for name in ("account_id", "purged_at")), sa.column("day", sa.Date),
                      sa.column("delivered"), sa.column("repeated_spend", SUM))  # fmt: skip
    purged = {
        (row.account_id, str(row.day)) for row in bind.execute(sa.select(ledger).where(ledger.c.purged_at.is_not(None)))
    }
    hours = [
        row for row in sum_records(HOUR.get(backend(), "HOUR(r.created_at)")) if (row[0], str(row[1])) not in purged
    ]
    days = []
    for key, group in groupby(hours, key=itemgetter(0, 1)):
        sums = [sum(each) for each in zip(*(row[3:] for row in group), strict=True)]
        days.append((*key, *sums))
    has_plan = bind.execute(sa.text("SELECT COUNT(*) FROM numbering_ranges")).scalar_one()
    operators: Iterable[Any] = ((*row[:2], "", *row[2:]) for row in days)
    if has_plan:
        operators = (row for row in sum_records(operator_lookup()) if (row[0], str(row[1])) not in purged)
    fill_table("hourly_totals", "hour", hours)
    fill_table("operator_totals", "operator", operators)
    found = [
        {"account": account, "of": as_date(day), "delivered": delivered, "repeated": text_of(repeated)}
        for account, day, _, delivered, _, repeated in days
    ]
    if found:
        bind.execute(
            sa.update(ledger)
            .where(ledger.c.account_id == sa.bindparam("account"), ledger.c.day == sa.bindparam("of"))
            .values(delivered=sa.bindparam("delivered"), repeated_spend=sa.bindparam("repeated")),
            found,
        )
    for name, condition in (("open_days", "first_closed_at IS NULL"), ("suspect_days", "suspect_since IS NOT NULL")):
        op.execute(
            f"UPDATE sync_state SET {name} = (SELECT COUNT(*) FROM synced_days d "  # noqa: S608 - constants
            f"WHERE d.account_id = sync_state.account_id AND d.{condition})"
        )


def operator_lookup() -> str:
    full = FULL_NUMBER.get(backend(), "r.phone REGEXP '^[+]7[0-9]{10}$'")
    return f"""COALESCE((SELECT n.operator FROM numbering_ranges n
  WHERE n.block = substr(r.phone, 1, 7) AND n.first_phone <= r.phone AND n.last_phone >= r.phone AND {full}), '')"""  # noqa: S608 - constants


def fill_table(name: str, key: str, rows: Iterable[Any]) -> None:
    table = sa.table(name, sa.column("account_id"), sa.column("day", sa.Date), sa.column(key), sa.column("records"),
                     sa.column("delivered"), sa.column("spend", SUM))  # fmt: skip
    op.execute(sa.delete(table))
    values = [
        {"account_id": account, "day": as_date(day), key: group, "records": records, "delivered": delivered, "spend": text_of(spend)}
        for account, day, group, records, delivered, spend, _ in rows
    ]  # fmt: skip
    if values:
        op.get_bind().execute(sa.insert(table), values)


def as_date(day: Any) -> Any:
    return date.fromisoformat(day) if isinstance(day, str) else day


def text_of(amount: Decimal) -> Any:
    return f"{amount:.6f}" if backend() == "sqlite" else amount


def finish_interrupted_purges() -> None:
    """Count the rows of purged days as purged, and delete them: the views read no row of a purged day any more."""
    bind = op.get_bind()
    day = DAY.get(backend(), "CAST(r.created_at AS DATE)")
    of_purged_day = f"""EXISTS (SELECT 1 FROM synced_days d WHERE d.account_id = r.account_id AND d.day = {day} AND d.purged_at IS NOT NULL)"""  # noqa: S608 - constants
    if bind.execute(sa.text("SELECT COUNT(*) FROM synced_days WHERE purged_at IS NOT NULL")).scalar_one() == 0:
        return
    rows = bind.execute(
        sa.text(
            f"SELECT r.account_id, {day}, r.status, r.repeats, r.price, r.withdrawn_at "  # noqa: S608 - constants
            f"FROM {RECORDS} r WHERE {of_purged_day}"
        )
    ).all()
    months: dict[tuple[int, Any], list[Any]] = {}
    for account, of, status, repeats, price, withdrawn_at in rows:
        if withdrawn_at is None:
            sums = months.setdefault((account, as_date(of).replace(day=1)), [0, 0, Decimal(0)])
            sums[0] += repeats
            sums[1] += repeats if status == 1 else 0
            sums[2] += Decimal(price) * repeats
    table = sa.table("purged_months", sa.column("account_id"), sa.column("month", sa.Date), sa.column("records"),
                     sa.column("delivered"), sa.column("spend", SUM))  # fmt: skip
    for (account, month), (records, delivered, spend) in months.items():
        condition = (table.c.account_id == account, table.c.month == month)
        before = bind.execute(sa.select(table).where(*condition)).one()
        bind.execute(
            sa.update(table).where(*condition).values(
                records=before.records + records, delivered=before.delivered + delivered,
                spend=text_of(Decimal(before.spend) + spend),
            )
        )  # fmt: skip
    if rows:
        target = f"DELETE r FROM {RECORDS} r" if backend() in MARIADB else f"DELETE FROM {RECORDS} AS r"  # noqa: S608 - constants
        op.execute(f"{target} WHERE {of_purged_day}")


def upgrade() -> None:
    for table, columns in new_columns().items():
        existing = existing_columns(table)
        for each in columns:
            if each.name not in existing:
                op.add_column(table, each)
    create_totals(
        "hourly_totals", "Totals of each hour that has records; written with the day",
        column("hour", sa.SmallInteger, "0 to 23, in the vendor's wall clock", autoincrement=False), "hour's",
    )  # fmt: skip
    create_totals(
        "operator_totals",
        "Totals of each operator that has records; written with the day, and when the numbering plan changes",
        column("operator", sa.String(500), "By the numbering plan; empty for numbers that are not in it"), "operator's",
    )  # fmt: skip
    rewrite_records()
    index = "ix_restatements_account_id"
    indexes = (
        {}
        if is_offline()
        else {each["name"]: each["column_names"] for each in sa.inspect(op.get_bind()).get_indexes("restatements")}
    )
    if indexes.get(index) != ["account_id", "created_at"]:
        if is_offline() or index in indexes:
            op.drop_index(index, "restatements")
        op.create_index(index, "restatements", ["account_id", "created_at"])
    if not is_offline():
        finish_interrupted_purges()
        fill_totals()


def downgrade() -> None:
    op.drop_index("ix_restatements_account_id", "restatements")
    op.create_index(
        "ix_restatements_account_id", "restatements", ["account_id", "created_at", "phone", "code_auth", "ordinal"]
    )
    if backend() == "postgresql":
        restore_on_postgresql()
    else:
        fill_and_exchange(create_old, OLD_ROWS)
    op.drop_table("operator_totals")
    op.drop_table("hourly_totals")
    for table, columns in reversed(new_columns().items()):
        for each in reversed(columns):
            op.drop_column(table, each.name)
