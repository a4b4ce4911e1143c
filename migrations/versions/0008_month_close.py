"""Closed months, and the currency and VAT of an account.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql

revision = "0008"
down_revision = "0007"
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


def column(name: str, type_: Any, comment: str, *, nullable: bool = False, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=nullable, comment=comment, **options)


def more_columns() -> list[sa.Column[Any]]:
    return [
        column("currency", sa.String(3), "ISO 4217; BILLING_CURRENCY of the last run", server_default="RUB"),
        column(
            "vat_basis_points", sa.Integer, "Hundredths of a percent; BILLING_VAT_RATE of the last run, empty without one",
            nullable=True,
        ),
        column("vat", sa.String(8), "included in the prices, or excluded: it comes on top. BILLING_VAT of the last run", server_default="included"),
    ]  # fmt: skip


def upgrade() -> None:
    # MariaDB commits each statement separately: a killed migration runs again.
    existing = (
        set()
        if context.is_offline_mode()
        else {each["name"] for each in sa.inspect(op.get_bind()).get_columns("accounts")}
    )
    for each in more_columns():
        if each.name not in existing:
            op.add_column("accounts", each)
    op.create_table(
        "closed_months",
        column("account_id", sa.Integer, "accounts.id", autoincrement=False),
        column("month", sa.Date, "The month's first day, in the vendor's wall clock"),
        column("closing", sa.Integer, "From 1: a later one replaces an earlier one, which stays on file", autoincrement=False),
        column("kind", sa.String(16), "final (every day was closed) or provisional"),
        column("closed_at", UTC_TIME, "UTC"),
        column("records", sa.BigInteger, "Charges as the vendor listed them then, repeats included"),
        column("booked", SUM, "The month's spend then"),
        column("currency", sa.String(3), "accounts.currency then"),
        column("vat_basis_points", sa.Integer, "accounts.vat_basis_points then", nullable=True),
        column("vat", sa.String(8), "accounts.vat then"),
        column("journal_id", sa.BigInteger, "restatements.id of the last line of the account then; 0 where there was none"),
        sa.PrimaryKeyConstraint("account_id", "month", "closing", name="pk_closed_months"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_closed_months_account_id"),
        if_not_exists=True,
        comment="Totals of a month when it was booked",
        **ON_MARIADB,
    )  # fmt: skip


def downgrade() -> None:
    op.drop_table("closed_months")
    for each in reversed(more_columns()):
        op.drop_column("accounts", each.name)
