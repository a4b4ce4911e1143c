"""The records, the day ledger, and what is kept beside them.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
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


def account(table: str, *, primary_key: bool = False) -> sa.Column[int]:
    key = sa.ForeignKey("accounts.id", name=f"fk_{table}_account_id")
    return sa.Column("account_id", sa.Integer, key, primary_key=primary_key, nullable=False)


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
    create_table(
        "accounts",
        "The vendor accounts whose charges are stored",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("label", sa.String(255), nullable=False, comment="BILLING_ACCOUNT"),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.UniqueConstraint("label", name="uq_accounts_label"),
    )
    create_table(
        "billing_records",
        "One row per different charge, withdrawn ones included",
        sa.Column("id", BIG_ID, primary_key=True),
        sa.Column("account_id", sa.Integer, nullable=False),
        sa.Column("created_at", WALL_CLOCK, nullable=False, comment="The vendor's wall clock"),
        sa.Column("phone", sa.String(255), nullable=False),
        sa.Column("code_auth", sa.String(255), nullable=False, comment="Empty where there is no code"),
        sa.Column(
            "ordinal", sa.Integer, nullable=False, comment="Among different records of one second, phone and code"
        ),
        sa.Column("status", sa.BigInteger, comment="1 is delivered; nothing else is documented"),
        sa.Column("status_info", LONG_TEXT, nullable=False),
        sa.Column("price", PRICE, nullable=False),
        sa.Column("repeats", sa.Integer, nullable=False, comment="Number of identical records that the vendor lists"),
        sa.Column("created_at_utc", WALL_CLOCK, nullable=False),
        sa.Column("first_seen_at", UTC_TIME, nullable=False, comment="UTC"),
        sa.Column("updated_at", UTC_TIME, nullable=False, comment="UTC"),
        sa.Column("withdrawn_at", UTC_TIME, comment="UTC; set while the vendor no longer lists the record"),
        sa.UniqueConstraint(
            "account_id", "created_at", "phone", "code_auth", "ordinal", name="uq_billing_records_account_id"
        ),
    )
    create_table(
        "sync_runs",
        "The history of runs",
        sa.Column("id", BIG_ID, primary_key=True),
        account("sync_runs"),
        sa.Column("command", sa.String(16), nullable=False),
        sa.Column("program_version", sa.String(32), nullable=False),
        sa.Column("started_at", UTC_TIME, nullable=False, comment="UTC"),
        sa.Column("finished_at", UTC_TIME, comment="UTC"),
        sa.Column(
            "outcome", sa.String(16), nullable=False, comment="running, done, look, failed, stopped or abandoned"
        ),
        sa.Column("exit_code", sa.SmallInteger),
        sa.Column("error", sa.Text, comment="One line, without secrets"),
        sa.Column("first_day", sa.Date),
        sa.Column("last_day", sa.Date),
        sa.Column("sources", sa.String(16), nullable=False, comment="json, csv or both"),
        sa.Column("days", sa.Integer, nullable=False),
        sa.Column("new", sa.BigInteger, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.Column("withdrawn", sa.BigInteger, nullable=False),
        sa.Column("unchanged", sa.BigInteger, nullable=False),
        sa.Column("rejected", sa.BigInteger, nullable=False),
        sa.Column("suspect_days", sa.Integer, nullable=False),
        sa.UniqueConstraint("account_id", "id", name="uq_sync_runs_account_id"),
    )
    create_table(
        "sync_state",
        "One row per account: how far its days are complete",
        account("sync_state", primary_key=True),
        sa.Column("first_day", sa.Date, comment="The first day ever synced: the unbroken run begins here"),
        sa.Column(
            "last_synced_date", sa.Date, comment="The watermark: the last day of the unbroken run of complete days"
        ),
        sa.Column("synced_until_utc", UTC_TIME, comment="The end of the watermark's day"),
        sa.Column("settled_through", sa.Date, comment="The last day that the lookback no longer fetches again"),
        sa.Column("last_success_at", UTC_TIME, comment="UTC"),
        sa.Column(
            "fence", sa.BigInteger, nullable=False, comment="The number of the newest run; an older one may not write"
        ),
    )
    create_table(
        "synced_days",
        "The day ledger: totals of each day, and whether it is complete",
        account("synced_days", primary_key=True),
        sa.Column("day", sa.Date, primary_key=True, comment="In the vendor's wall clock"),
        sa.Column("digest", sa.String(32), nullable=False, comment="Of the day's records in canonical form"),
        sa.Column("records", sa.BigInteger, nullable=False, comment="As the vendor lists them, repeats included"),
        sa.Column("spend", SUM, nullable=False),
        sa.Column("source", sa.String(4), nullable=False, comment="json or csv"),
        sa.Column("stored_at", UTC_TIME, nullable=False, comment="UTC; when this state was stored"),
        sa.Column("first_closed_at", UTC_TIME, comment="UTC; when the day was first stored whole. Open until then"),
        sa.Column("first_closed_spend", SUM),
        sa.Column("restated_at", UTC_TIME, comment="UTC; when the day last changed after first_closed_at"),
        sa.Column("suspect_since", UTC_TIME, comment="UTC; set while the vendor's answer is implausible"),
        sa.Column("suspect_reason", sa.Text),
    )
    create_table(
        "restatements",
        "The journal: every change of a day after it was closed",
        sa.Column("id", BIG_ID, primary_key=True),
        account("restatements"),
        sa.Column("run_id", sa.BigInteger, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("restated_at", UTC_TIME, nullable=False, comment="UTC"),
        sa.Column("kind", sa.String(16), nullable=False, comment="late, corrected, withdrawn or returned"),
        sa.Column("created_at", WALL_CLOCK, nullable=False),
        sa.Column("phone", sa.String(255), nullable=False),
        sa.Column("code_auth", sa.String(255), nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("status_before", sa.BigInteger),
        sa.Column("status_info_before", LONG_TEXT),
        sa.Column("price_before", PRICE),
        sa.Column("repeats_before", sa.Integer, nullable=False, comment="0 if the record was not listed"),
        sa.Column("status_after", sa.BigInteger),
        sa.Column("status_info_after", LONG_TEXT),
        sa.Column("price_after", PRICE),
        sa.Column("repeats_after", sa.Integer, nullable=False, comment="0 if the record is no longer listed"),
        sa.Column("delta", SUM, nullable=False, comment="Change of the day's spend"),
        sa.UniqueConstraint("account_id", "day", "id", name="uq_restatements_account_id"),
    )
    create_table(
        "rejected_records",
        "The quarantine: records of the vendor that cannot be stored in billing_records",
        sa.Column("id", BIG_ID, primary_key=True),
        account("rejected_records"),
        sa.Column("day", sa.Date, comment="Empty where the record's day cannot be read"),
        sa.Column("asked_first", sa.Date, nullable=False),
        sa.Column("asked_last", sa.Date, nullable=False, comment="Last requested day of the answer with the record"),
        sa.Column("reason", sa.String(255), nullable=False),
        sa.Column("payload", LONG_TEXT, nullable=False, comment="The record as the vendor sent it"),
        sa.Column("payload_digest", sa.String(32), nullable=False),
        sa.Column("first_seen_at", UTC_TIME, nullable=False, comment="UTC"),
        sa.UniqueConstraint("account_id", "payload_digest", name="uq_rejected_records_account_id"),
    )
    create_table(
        "balance_snapshots",
        "Balances of the account that the vendor reported",
        sa.Column("id", BIG_ID, primary_key=True),
        account("balance_snapshots"),
        sa.Column("taken_at", UTC_TIME, nullable=False, comment="UTC"),
        sa.Column("balance", PRICE, nullable=False),
        sa.Column("recorded_spend", SUM, nullable=False, comment="The spend on record at that moment"),
        sa.UniqueConstraint("account_id", "taken_at", "id", name="uq_balance_snapshots_account_id"),
    )


def downgrade() -> None:
    for table in (
        "balance_snapshots",
        "rejected_records",
        "restatements",
        "synced_days",
        "sync_state",
        "sync_runs",
        "billing_records",
        "accounts",
    ):
        op.drop_table(table)
