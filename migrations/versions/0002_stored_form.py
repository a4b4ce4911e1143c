"""In which form an account's phones and codes are stored.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def columns() -> list[sa.Column[str]]:
    return [
        sa.Column("phones", sa.String(8), nullable=False, server_default="plain", comment="plain, masked or keyed"),
        sa.Column("phones_key_id", sa.String(8), comment="Of the key of keyed phones; no part of it"),
        sa.Column("codes", sa.String(4), nullable=False, server_default="keep", comment="keep or drop"),
    ]


def upgrade() -> None:
    # MariaDB commits every column by itself: a migration that was killed half-way must run again from its start.
    there = (
        set()
        if context.is_offline_mode()
        else {column["name"] for column in sa.inspect(op.get_bind()).get_columns("accounts")}
    )
    for column in columns():
        if column.name not in there:
            op.add_column("accounts", column)


def downgrade() -> None:
    for column in reversed(columns()):
        op.drop_column("accounts", column.name)
