"""SQLite: the ids of runs, journal lines, rejected records, balances and top-ups are used once; views of purged days.

SQLite gives the id of a deleted newest row to the next one, unless the table is declared AUTOINCREMENT; PostgreSQL and
MariaDB never do. People and other tables name rows by these ids. SQLite rewrites the tables in the migration's
transaction.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ACCOUNT = "INTEGER NOT NULL"


class IdTable(NamedTuple):
    """A table with an id, as SQLite declares it.

    Attributes:
        columns: Type of each column but `id`.
        unique: Columns of the unique constraint.
        index: Columns of the index; empty without one.
        named_by: Queries of ids that other tables still name, though their rows may be deleted.
    """

    columns: Mapping[str, str]
    unique: str
    index: str = ""
    named_by: tuple[str, ...] = ()


TABLES = {
    "sync_runs": IdTable(
        {
            "account_id": ACCOUNT,
            "command": "VARCHAR(16) NOT NULL",
            "program_version": "VARCHAR(32) NOT NULL",
            "started_at": "DATETIME NOT NULL",
            "finished_at": "DATETIME",
            "outcome": "VARCHAR(16) NOT NULL",
            "exit_code": "SMALLINT",
            "error": "TEXT",
            "first_day": "DATE",
            "last_day": "DATE",
            "sources": "VARCHAR(16) NOT NULL",
            "days": "INTEGER NOT NULL",
            **dict.fromkeys(("new", "changed", "withdrawn", "unchanged", "rejected"), "BIGINT NOT NULL"),
            "suspect_days": "INTEGER NOT NULL",
            "largest_json": "BIGINT",
            "largest_csv": "BIGINT",
        },
        unique="account_id, id",
        named_by=(
            "SELECT MAX(fence) FROM sync_state",
            "SELECT MAX(run_id) FROM restatements",
            "SELECT MAX(run_id) FROM balance_snapshots",
        ),
    ),
    "restatements": IdTable(
        {
            "account_id": ACCOUNT,
            "run_id": "BIGINT NOT NULL",
            "day": "DATE NOT NULL",
            "restated_at": "DATETIME NOT NULL",
            "kind": "VARCHAR(16) NOT NULL",
            "created_at": "DATETIME NOT NULL",
            "phone": "VARCHAR(255) NOT NULL",
            "code_auth": "VARCHAR(255) NOT NULL",
            "ordinal": "INTEGER NOT NULL",
            "status_before": "BIGINT",
            "status_info_before": "TEXT",
            "price_before": "TEXT",
            "repeats_before": "INTEGER NOT NULL",
            "status_after": "BIGINT",
            "status_info_after": "TEXT",
            "price_after": "TEXT",
            "repeats_after": "INTEGER NOT NULL",
            "delta": "TEXT NOT NULL",
        },
        unique="account_id, day, id",
        index="account_id, created_at",
        named_by=("SELECT MAX(journal_id) FROM closed_months", "SELECT MAX(journal_id) FROM balance_snapshots"),
    ),
    "rejected_records": IdTable(
        {
            "account_id": ACCOUNT,
            "day": "DATE",
            "asked_first": "DATE NOT NULL",
            "asked_last": "DATE NOT NULL",
            "reason": "VARCHAR(255) NOT NULL",
            "payload": "TEXT NOT NULL",
            "payload_digest": "VARCHAR(32) NOT NULL",
            "first_seen_at": "DATETIME NOT NULL",
            "acknowledged_at": "DATETIME",
        },
        unique="account_id, payload_digest",
        index="account_id, first_seen_at",
    ),
    "balance_snapshots": IdTable(
        {
            "account_id": ACCOUNT,
            "taken_at": "DATETIME NOT NULL",
            "balance": "TEXT NOT NULL",
            "recorded_spend": "TEXT NOT NULL",
            "run_id": "BIGINT",
            "moment": "VARCHAR(6)",
            "restated_up": "TEXT",
            "restated_down": "TEXT",
            "journal_id": "BIGINT",
            "unproven_days": "INTEGER DEFAULT '0' NOT NULL",
        },
        unique="account_id, taken_at, id",
    ),
    "balance_top_ups": IdTable(
        {
            "account_id": ACCOUNT,
            "at": "DATETIME NOT NULL",
            "amount": "TEXT NOT NULL",
            "noted_at": "DATETIME NOT NULL",
        },
        unique="account_id, at, id",
    ),
}


def is_sqlite() -> bool:
    return op.get_context().dialect.name == "sqlite"


def rewrite(name: str, table: IdTable, *, used_once: bool) -> None:
    """Exchange a table for one with the same rows, whose ids are used once, or again."""
    copy = f"{name}_0011_copy"
    names = ", ".join(["id", *table.columns])
    definitions = [
        "id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT" if used_once else "id INTEGER NOT NULL",
        *(f"{column} {type_}" for column, type_ in table.columns.items()),
        *([] if used_once else [f"CONSTRAINT pk_{name} PRIMARY KEY (id)"]),
        f"CONSTRAINT uq_{name}_account_id UNIQUE ({table.unique})",
        f"CONSTRAINT fk_{name}_account_id FOREIGN KEY(account_id) REFERENCES accounts (id)",
    ]
    op.execute(f"CREATE TABLE {copy} ({', '.join(definitions)})")
    op.execute(f"INSERT INTO {copy} ({names}) SELECT {names} FROM {name}")  # noqa: S608 - constants
    op.execute(f"DROP TABLE {name}")
    op.execute(f"ALTER TABLE {copy} RENAME TO {name}")
    if table.index:
        op.execute(f"CREATE INDEX ix_{name}_account_id ON {name} ({table.index})")


def begin_after_named_ids(name: str, table: IdTable) -> None:
    """Let the next id follow every id that a row of this or of another table names."""
    queries = (f"SELECT MAX(id) FROM {name}", *table.named_by)  # noqa: S608 - constants
    used = ", ".join(f"COALESCE(({query}), 0)" for query in queries)
    op.execute(f"DELETE FROM sqlite_sequence WHERE name = '{name}'")  # noqa: S608 - constants
    op.execute(f"INSERT INTO sqlite_sequence (name, seq) SELECT '{name}', MAX(0, {used})")


def upgrade() -> None:
    if is_sqlite():
        for name, table in TABLES.items():
            rewrite(name, table, used_once=True)
            begin_after_named_ids(name, table)


def downgrade() -> None:
    if is_sqlite():
        for name, table in TABLES.items():
            rewrite(name, table, used_once=False)
