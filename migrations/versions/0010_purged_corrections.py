"""What a purge keeps of the changes of booked months; the views leave partly deleted accounts out.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

MARIADB = ("mysql", "mariadb")
ON_MARIADB: dict[str, Any] = {
    f"{backend}_{option}": value
    for backend in MARIADB
    for option, value in (("charset", "utf8mb4"), ("collate", "utf8mb4_bin"), ("engine", "InnoDB"))
}
SUM = sa.Numeric(38, 6).with_variant(sa.Text(), "sqlite")


def column(name: str, type_: Any, comment: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=False, comment=comment, **options)


def upgrade() -> None:
    # The views are dropped and created again with every migration, so that they need no statement here.
    op.create_table(
        "purged_corrections",
        column("account_id", sa.Integer, "accounts.id", autoincrement=False),
        column("day", sa.Date, "The purged day that had changed"),
        column(
            "closing", sa.Integer, "closed_months.closing of the final booking that the changes followed",
            autoincrement=False,
        ),
        column("period", sa.Date, "First day of the month of restatements.restated_at"),
        column("delta", SUM, "Change of the day's spend by the purged lines of the journal"),
        sa.PrimaryKeyConstraint("account_id", "day", "closing", "period", name="pk_purged_corrections"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_purged_corrections_account_id"),
        if_not_exists=True,
        comment="Changes of purged days after their month was booked",
        **ON_MARIADB,
    )  # fmt: skip


def downgrade() -> None:
    op.drop_table("purged_corrections")
