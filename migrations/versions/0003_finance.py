"""What finance and BI ask for: the numbering plan, top-ups, whose balance a snapshot is; every column told.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateColumn

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MARIADB = ("mysql", "mariadb")
ON_MARIADB: dict[str, Any] = {
    f"{backend}_{option}": value
    for backend in MARIADB
    for option, value in (("charset", "utf8mb4"), ("collate", "utf8mb4_bin"), ("engine", "InnoDB"))
}
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), *MARIADB)
WALL_CLOCK = sa.DateTime()
UTC_TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), *MARIADB)
PRICE = sa.Numeric(18, 6).with_variant(sa.Text(), "sqlite")
SUM = sa.Numeric(38, 6).with_variant(sa.Text(), "sqlite")


def column(name: str, type_: Any, comment: str, *, nullable: bool = False, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=nullable, comment=comment, **options)


def account(**options: Any) -> sa.Column[Any]:
    return column("account_id", sa.Integer, "accounts.id", autoincrement=False, **options)


def told_since() -> dict[str, list[sa.Column[Any]]]:
    """The columns of older revisions that said nothing of themselves, as they are, with a comment."""
    return {
        "accounts": [
            column("id", sa.Integer, "The number by which the other tables name the account", primary_key=True),
            column("created_at", UTC_TIME, "UTC; when its first run began"),
        ],
        "billing_records": [
            column("id", BIG_ID, "Stays with the record whatever changes of it", primary_key=True),
            account(),
            column("phone", sa.String(255), "+7XXXXXXXXXX of a Russian number, any other as the vendor gives it; masked or keyed where accounts.phones says so"),
            column("status_info", LONG_TEXT, "The vendor's description of the status; empty if there is none"),
            column("price", PRICE, "Of one charge, in the account's currency; negative is a refund"),
            column("created_at_utc", WALL_CLOCK, "created_at, turned into UTC by BILLING_TIMEZONE"),
        ],
        "sync_runs": [
            column("id", BIG_ID, "Ascending: a newer run has a higher number", primary_key=True),
            account(),
            column("command", sa.String(16), "sync, backfill or accept"),
            column("program_version", sa.String(32), "Of billing-etl"),
            column("exit_code", sa.SmallInteger, "What the process ended with", nullable=True),
            column("first_day", sa.Date, "First requested day", nullable=True),
            column("last_day", sa.Date, "Last requested day", nullable=True),
            column("days", sa.Integer, "Days fetched and compared"),
            column("new", sa.BigInteger, "Records stored for the first time"),
            column("changed", sa.BigInteger, "Records stored with other attributes"),
            column("withdrawn", sa.BigInteger, "Records that the vendor no longer listed"),
            column("unchanged", sa.BigInteger, "Records equal to their rows"),
            column("rejected", sa.BigInteger, "Records that could not be read and were quarantined"),
            column("suspect_days", sa.Integer, "Days whose answer was implausible: their rows were kept"),
        ],
        "sync_state": [account(primary_key=True)],
        "synced_days": [
            account(primary_key=True),
            column("spend", SUM, "Price times repeats of the day's records"),
            column("first_closed_spend", SUM, "The spend when the day was first stored whole", nullable=True),
            column("suspect_reason", sa.Text, "Why the vendor's answer is implausible", nullable=True),
        ],
        "restatements": [
            column("id", BIG_ID, "Ascending in the order of the changes", primary_key=True),
            account(),
            column("run_id", sa.BigInteger, "sync_runs.id of the run that found the change"),
            column("day", sa.Date, "The day that changed"),
            column("created_at", WALL_CLOCK, "Of the record; the vendor's wall clock"),
            column("phone", sa.String(255), "Of the record"),
            column("code_auth", sa.String(255), "Of the record"),
            column("ordinal", sa.Integer, "Of the record"),
            *(
                column(f"{name}_{moment}", type_, f"Empty if the record {listed}", nullable=True)
                for moment, listed in (("before", "was not listed"), ("after", "is no longer listed"))
                for name, type_ in (("status", sa.BigInteger), ("status_info", LONG_TEXT), ("price", PRICE))
            ),
        ],
        "rejected_records": [
            column("id", BIG_ID, "Ascending in the order in which they were found", primary_key=True),
            account(),
            column("asked_first", sa.Date, "First requested day of the answer with the record"),
            column("reason", sa.String(255), "Why the record cannot be stored in billing_records"),
            column("payload_digest", sa.String(32), "Digest of the payload: equal payloads are stored once"),
        ],
        "balance_snapshots": [
            column("id", BIG_ID, "Ascending in the order in which they were taken", primary_key=True),
            account(),
            column("balance", PRICE, "Balance that get_balance reported, in the account's currency"),
        ],
    }  # fmt: skip


def of_snapshots() -> list[sa.Column[Any]]:
    return [
        column("run_id", sa.BigInteger, "sync_runs.id of the run that took it; empty for the command balance", nullable=True),
        column("moment", sa.String(6), "before or after that run; empty for the command balance", nullable=True),
    ]  # fmt: skip


def tell(table: str, columns: Iterable[sa.Column[Any]]) -> None:
    """Set the comments; one statement a table on MariaDB, which wants the whole column said again."""
    dialect = op.get_context().dialect
    if dialect.name in MARIADB:
        stated = sa.Table(table, sa.MetaData(), *columns)
        parts = (f"MODIFY {CreateColumn(each).compile(dialect=dialect)}" for each in stated.columns)
        op.execute(f"ALTER TABLE {table} {', '.join(parts)}")
    elif dialect.supports_comments:
        for each in columns:
            op.alter_column(table, each.name, comment=each.comment)


def create_table(name: str, comment: str, *parts: sa.schema.SchemaItem) -> None:
    # MariaDB commits every table by itself: a migration that was killed half-way must run again from its start.
    key = [part.name for part in parts if isinstance(part, sa.Column) and part.primary_key]
    op.create_table(
        name,
        *parts,
        sa.PrimaryKeyConstraint(*key, name=f"pk_{name}"),
        if_not_exists=True,
        comment=comment,
        **ON_MARIADB,
    )


def upgrade() -> None:
    for table, columns in told_since().items():
        tell(table, columns)
    there = (
        set()
        if context.is_offline_mode()
        else {each["name"] for each in sa.inspect(op.get_bind()).get_columns("balance_snapshots")}
    )
    for each in of_snapshots():
        if each.name not in there:
            op.add_column("balance_snapshots", each)
    create_table(
        "balance_top_ups",
        "Money paid in, as recorded by hand: the vendor's API does not list it",
        column("id", BIG_ID, "Ascending in the order in which they were noted", primary_key=True),
        account(),
        column("at", UTC_TIME, "UTC; when the money came to the account"),
        column("amount", PRICE, "In the account's currency"),
        column("noted_at", UTC_TIME, "UTC; when the top-up was recorded"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_balance_top_ups_account_id"),
        sa.UniqueConstraint("account_id", "at", "id", name="uq_balance_top_ups_account_id"),
    )
    create_table(
        "numbering_ranges",
        "The numbering plan of Russia: ranges of numbers and their operators, without overlaps",
        column("block", sa.String(7), "+7 and five digits: no row crosses a block of 100,000 numbers", primary_key=True),
        column("first_phone", sa.String(12), "+7XXXXXXXXXX", primary_key=True),
        column("last_phone", sa.String(12), "+7XXXXXXXXXX; this one included"),
        column("operator", sa.String(500), "Operator to which the range is assigned; numbers may be ported"),
        column("region", sa.String(500), "As in the plan"),
        column("inn", sa.String(12), "The operator's taxpayer number; older copies of the plan have none", nullable=True),
        column("file_name", sa.String(255), "Of the file it was read from, without the folder"),
        column("file_changed_at", UTC_TIME, "UTC; how old that file was"),
        column("imported_at", UTC_TIME, "UTC"),
    )  # fmt: skip
    # The journal by record: the records as of a moment are looked up in it.
    index = "ix_restatements_account_id"
    if context.is_offline_mode() or index not in {
        each["name"] for each in sa.inspect(op.get_bind()).get_indexes("restatements")
    }:
        op.create_index(index, "restatements", ["account_id", "created_at", "phone", "code_auth", "ordinal"])


def downgrade() -> None:
    op.drop_index("ix_restatements_account_id", "restatements")
    # The comments stay: they are as true of the older schema.
    op.drop_table("numbering_ranges")
    op.drop_table("balance_top_ups")
    for each in reversed(of_snapshots()):
        op.drop_column("balance_snapshots", each.name)
