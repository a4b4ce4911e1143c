"""Whose token and which zone an account has, a revision that copies can follow, and the largest answers of a run.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UTC_TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def optional(name: str, type_: Any, comment: str) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=True, comment=comment)


def number(name: str, comment: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0", comment=comment)


def more_columns() -> dict[str, list[sa.Column[Any]]]:
    return {
        "accounts": [
            optional("token_fingerprint", sa.String(64), "One-way hash of the token; the token itself is not stored"),
            optional("timezone", sa.String(64), "The IANA zone of the vendor's wall clock: BILLING_TIMEZONE of its first run"),
            optional("timezone_to", sa.String(64), "The zone that account set-timezone is turning created_at_utc to; empty once it is done"),
            optional("deletion_started_at", UTC_TIME, "UTC; when account delete began. Running it again deletes the rest"),
        ],
        "sync_runs": [
            optional("largest_json", sa.BigInteger, "Records in the largest JSON answer of the run"),
            optional("largest_csv", sa.BigInteger, "Records in the largest CSV export of the run"),
        ],
        "sync_state": [number("revision", "Grows with every transaction that changes stored days")],
        "synced_days": [number("revision", "sync_state.revision of the last transaction that changed the day or its records")],
    }  # fmt: skip


def existing_columns(table: str) -> set[str]:
    """The columns a table has: MariaDB commits each statement separately, and a killed migration runs again."""
    if context.is_offline_mode():
        return set()
    return {str(column["name"]) for column in sa.inspect(op.get_bind()).get_columns(table)}


def upgrade() -> None:
    for table, columns in more_columns().items():
        existing = existing_columns(table)
        for column in columns:
            if column.name not in existing:
                op.add_column(table, column)


def downgrade() -> None:
    for table, columns in reversed(more_columns().items()):
        for column in reversed(columns):
            op.drop_column(table, column.name)
