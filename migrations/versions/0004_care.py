"""What a database needs that is kept for years: accounts retired, months purged, what the vendor's dates mean.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MARIADB = ("mysql", "mariadb")
ON_MARIADB: dict[str, Any] = {
    f"{backend}_{option}": value
    for backend in MARIADB
    for option, value in (("charset", "utf8mb4"), ("collate", "utf8mb4_bin"), ("engine", "InnoDB"))
}
UTC_TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), *MARIADB)
SUM = sa.Numeric(38, 6).with_variant(sa.Text(), "sqlite")
INDEX = "ix_rejected_records_account_id"


def column(name: str, type_: Any, comment: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=nullable, comment=comment)


def more_columns() -> dict[str, list[sa.Column[Any]]]:
    return {
        "accounts": [
            column("retired_at", UTC_TIME, "UTC; no sync fetches it since. Empty while it is in use", nullable=True),
            column("dates_mean", sa.String(16), "How the vendor was seen to cut days: included or excluded (the end date), or other_zone", nullable=True),
            column("dates_seen_at", UTC_TIME, "UTC; when check last determined dates_mean", nullable=True),
        ],
        "synced_days": [
            column("purged_at", UTC_TIME, "UTC; when the day's records were purged. The other columns stay", nullable=True),
        ],
    }  # fmt: skip


def there(table: str) -> set[str]:
    """The columns and indexes a table has: MariaDB commits each statement by itself, and a killed migration runs again."""
    if context.is_offline_mode():
        return set()
    inspector = sa.inspect(op.get_bind())
    return {str(each["name"]) for each in (*inspector.get_columns(table), *inspector.get_indexes(table))}


def upgrade() -> None:
    for table, columns in more_columns().items():
        known = there(table)
        for each in columns:
            if each.name not in known:
                op.add_column(table, each)
    op.create_table(
        "purged_months",
        sa.Column("account_id", sa.Integer, autoincrement=False, nullable=False, comment="accounts.id"),
        column("month", sa.Date, "The month's first day, in the vendor's wall clock"),
        column("records", sa.BigInteger, "Charges as the vendor listed them, repeats included"),
        column("delivered", sa.BigInteger, "Those of status 1"),
        column("spend", SUM, "Price times repeats of the purged records"),
        column("restated", SUM, "Change of the spend by the purged lines of the journal"),
        column("purged_at", UTC_TIME, "UTC; when the last of them were purged"),
        sa.PrimaryKeyConstraint("account_id", "month", name="pk_purged_months"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_purged_months_account_id"),
        if_not_exists=True,
        comment="Totals of the purged records of a month",
        **ON_MARIADB,
    )
    if INDEX not in there("rejected_records"):
        op.create_index(INDEX, "rejected_records", ["account_id", "first_seen_at"])


def downgrade() -> None:
    op.drop_index(INDEX, "rejected_records")
    op.drop_table("purged_months")
    for table, columns in reversed(more_columns().items()):
        for each in reversed(columns):
            op.drop_column(table, each.name)
