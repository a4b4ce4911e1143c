"""The channel of a record, and totals by channel.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

MARIADB = ("mysql", "mariadb")
ON_MARIADB: dict[str, Any] = {
    f"{backend}_{option}": value
    for backend in MARIADB
    for option, value in (("charset", "utf8mb4"), ("collate", "utf8mb4_bin"), ("engine", "InnoDB"))
}
SUM = sa.Numeric(38, 6).with_variant(sa.Text(), "sqlite")


def column(name: str, type_: Any, comment: str, *, nullable: bool = False, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=nullable, comment=comment, **options)


def more_columns() -> dict[str, sa.Column[Any]]:
    """By table. Without a default, so that no row is written again."""
    return {
        "billing_records": column(
            "channel", sa.SmallInteger, "channels.id, by the rules of the account; empty until it is classified",
            nullable=True,
        ),
        "synced_days": column(
            "channel_rules", sa.String(16), "A digest of the rules by which the day's records were classified; empty until they are",
            nullable=True,
        ),
    }  # fmt: skip


def upgrade() -> None:
    for table, each in more_columns().items():
        # MariaDB commits each statement separately: a killed migration runs again.
        existing = (
            set()
            if context.is_offline_mode()
            else {known["name"] for known in sa.inspect(op.get_bind()).get_columns(table)}
        )
        if each.name not in existing:
            op.add_column(table, each)
    op.create_table(
        "channels",
        column("id", sa.SmallInteger, "Number of the channel, as in billing_records.channel", autoincrement=False),
        column("name", sa.String(64), "The channel of a rule, or unknown"),
        sa.PrimaryKeyConstraint("id", name="pk_channels"),
        sa.UniqueConstraint("name", name="uq_channels_name"),
        if_not_exists=True,
        comment="All channels that rules have named",
        **ON_MARIADB,
    )
    op.create_table(
        "channel_totals",
        column("account_id", sa.Integer, "accounts.id", autoincrement=False),
        column("day", sa.Date, "In the vendor's wall clock"),
        column("channel", sa.SmallInteger, "channels.id", autoincrement=False),
        column("records", sa.BigInteger, "As the vendor lists them, repeats included"),
        column("delivered", sa.BigInteger, "Those of status 1"),
        column("spend", SUM, "Price times repeats of the channel's records"),
        sa.PrimaryKeyConstraint("account_id", "day", "channel", name="pk_channel_totals"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_channel_totals_account_id"),
        if_not_exists=True,
        comment="Totals of each channel that has records; written with the day, and when it is classified again",
        **ON_MARIADB,
    )


def downgrade() -> None:
    op.drop_table("channel_totals")
    op.drop_table("channels")
    for table, each in reversed(more_columns().items()):
        op.drop_column(table, each.name)
