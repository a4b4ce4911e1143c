"""What a balance snapshot is worth: by how much closed days changed, and how many days were unproven.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLE = "balance_snapshots"
SUM = sa.Numeric(38, 6).with_variant(sa.Text(), "sqlite")


def more_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("restated_up", SUM, nullable=True, comment="Sum of the growth of closed days that changed, so far; empty up to revision 0005"),
        sa.Column("restated_down", SUM, nullable=True, comment="The same of closed days whose spend fell; at most zero"),
        sa.Column("journal_id", sa.BigInteger, nullable=True, comment="restatements.id of the last line counted in both; 0 where there is none"),
        sa.Column(
            "unproven_days", sa.Integer, nullable=False, server_default="0",
            comment="Number of suspect or incomplete past days at that moment: with any, recorded_spend may differ from the vendor's",
        ),
    ]  # fmt: skip


def upgrade() -> None:
    # MariaDB commits each statement separately: a killed migration runs again.
    existing = (
        set()
        if context.is_offline_mode()
        else {column["name"] for column in sa.inspect(op.get_bind()).get_columns(TABLE)}
    )
    for column in more_columns():
        if column.name not in existing:
            op.add_column(TABLE, column)


def downgrade() -> None:
    for column in reversed(more_columns()):
        op.drop_column(TABLE, column.name)
