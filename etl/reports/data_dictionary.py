"""The data dictionary, generated from the declared schema: `python -m etl.reports.data_dictionary > docs/dictionary.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Column, Date, Integer, Text
from sqlalchemy.types import String

from etl.db.tables import metadata
from etl.db.types import LongText, Money, UtcTime, WallClock
from etl.db.view_columns import VIEW_COLUMNS

_CURRENCY, _WALL_CLOCK, _UTC = "the account's currency", "the vendor's wall clock", "UTC"
_KINDS: Final = {
    "text": ("text", "–"),
    "whole number": ("whole number", "–"),
    "true or false": ("true or false", "–"),
    "amount": ("amount", _CURRENCY),
    "ratio": ("number", "1 is all"),
    "percent": ("number", "percent"),
    "quantity": ("number", "charges"),
    "hours": ("number", "hours"),
    "date": ("date", _WALL_CLOCK),
    "time": ("time", _WALL_CLOCK),
    "time, UTC": ("time", _UTC),
}
"""Type and unit by the kind of a view's column."""

COLUMN_ORIGINS: Final[dict[str, dict[str, str]]] = {
    "accounts": {"label": "settings", "phones": "settings", "phones_key_id": "settings", "codes": "settings"}
    | {"currency": "settings", "vat_basis_points": "settings", "vat": "settings"}
    | {"retired_at": "a person: account retire", "dates_mean": "vendor: overlapping answers"},
    "billing_records": {
        name: f"vendor: {name}" for name in ("created_at", "phone", "code_auth", "status", "status_info", "price")
    }
    | {"utc_offset": "created_at, settings", "repeats": "vendor: equal records"}
    | {"channel": "settings, status_info, price, code_auth"},
    "channels": {"name": "settings"},
    "restatements": {name: f"billing_records.{name}" for name in ("created_at", "phone", "code_auth", "ordinal")}
    | {
        f"{name}_{version}": f"{source}: {name}"
        for version, source in (("before", "the stored record"), ("after", "vendor"))
        for name in ("status", "status_info", "price", "repeats")
    },
    "rejected_records": {"payload": "vendor"},
    "purged_months": dict.fromkeys(("records", "delivered", "spend"), "billing_records")
    | {"restated": "restatements.delta"},
    "purged_corrections": {"delta": "restatements.delta"},
    "closed_months": dict.fromkeys(("records", "booked"), "synced_days")
    | {name: f"accounts.{name}" for name in ("currency", "vat_basis_points", "vat")},
    "synced_days": dict.fromkeys(("digest", "records", "delivered", "spend", "repeated_spend"), "billing_records")
    | {"channel_rules": "settings"},
    "hourly_totals": dict.fromkeys(("records", "delivered", "spend"), "billing_records"),
    "operator_totals": dict.fromkeys(("records", "delivered", "spend"), "billing_records")
    | {"operator": "numbering_ranges"},
    "channel_totals": dict.fromkeys(("records", "delivered", "spend"), "billing_records")
    | {"channel": "billing_records.channel"},
    "balance_snapshots": {"balance": "vendor: get_balance", "recorded_spend": "billing_records.price × repeats"},
    "balance_top_ups": dict.fromkeys(("at", "amount"), "a person: balance --top-up"),
    "numbering_ranges": {
        "block": "plan: АВС/ DEF, От",
        "first_phone": "plan: АВС/ DEF, От",
        "last_phone": "plan: АВС/ DEF, До",
        "operator": "plan: Оператор",
        "region": "plan: Регион",
        "inn": "plan: ИНН",
        "file_name": "plan: the file",
        "file_changed_at": "plan: the file",
    },
}
"""Origins of columns that billing-etl does not set itself, by table."""

_HEAD: Final = """# Data dictionary

Generated from the schema by `make dictionary`; a test fails if it is out of date. The views are the public interface:
build on them. The meanings are also comments in the database: on PostgreSQL of all columns, on MariaDB of those of tables.

| type | SQLite | PostgreSQL | MariaDB |
| --- | --- | --- | --- |
| text | TEXT | VARCHAR, TEXT | VARCHAR, TEXT, LONGTEXT |
| whole number | INTEGER | INTEGER, BIGINT, SMALLINT | INT, BIGINT, SMALLINT |
| amount | TEXT with six decimal places; in views a number below a billion | NUMERIC(18, 6), sums NUMERIC(38, 6) | DECIMAL(18, 6), sums DECIMAL(38, 6) |
| number | REAL | NUMERIC | DECIMAL |
| date | TEXT, `2026-03-11` | DATE | DATE |
| time | TEXT, `2026-03-11 09:30:00` | TIMESTAMP | DATETIME; with microseconds DATETIME(6) |
| true or false | 1 or 0 | BOOLEAN | 1 or 0 |

Dates and times are stored without a zone: the unit names it. Empty means NULL, unless the meaning names an empty text.
"""

_VIEWS: Final = """## Views

| view | one row per |
| --- | --- |
| `billing` | current charge |
| `daily_spend` | account and day |
| `monthly_spend` | account and month: the same, and the sum of the changes of closed days |
| `delivery_by_operator` | account, day and operator: delivery rate, cost of a delivery |
| `daily_channels` | account, day and channel (flash call, SMS, …): delivery rate, cost of a delivery |
| `hourly_spend` | account, day and hour of the vendor's clock |
| `restated_days` | day that changed after it was first complete: spend before, after, delta |
| `balance_proof` | pair of balance snapshots: charges and payments between them, the part that restated days explain, and the unexplained remainder |
| `monthly_close` | account and month: whether it is final, the booked spend, the change since, net, VAT, gross |
| `restatement_lines` | change of a closed day: kind and delta, no phone and no code |
| `calendar` | account and day since the first one, also those without a charge or never stored |
| `focus_charges` | account and day, and correction of a booked day, in the columns of FinOps FOCUS 1.2 |
| `freshness` | account: the last complete day and its age, the currency |

`operator` and `region` are empty until the numbering plan is imported
([numbering plan](how-to/numbering-plan.md)). `channel` follows [rules](how-to/channels.md).
"""


def render_dictionary() -> str:
    """All views and tables with their columns, as Markdown."""
    views = (
        _markdown_section(
            view, "", ((column.name, *_KINDS[column.kind], column.meaning, column.source) for column in columns)
        )
        for view, columns in VIEW_COLUMNS.items()
    )
    tables = (
        _markdown_section(
            table.name, f"{table.comment}.\n\n", (_table_row(table.name, column) for column in table.columns)
        )
        for table in metadata.sorted_tables
    )
    return "\n".join([_HEAD, _VIEWS, *views, "## Tables\n", *tables])


def _markdown_section(name: str, introduction: str, rows: Iterable[Iterable[str]]) -> str:
    lines = ("| " + " | ".join(row) + " |\n" for row in rows)
    return (
        f"### {name}\n\n{introduction}| column | type | unit | meaning | source |\n| --- | --- | --- | --- | --- |\n"
        + "".join(lines)
    )


def _table_row(table: str, column: Column[Any]) -> tuple[str, ...]:
    source = COLUMN_ORIGINS.get(table, {}).get(column.name, "billing-etl")
    return column.name, *_KINDS[_kind_of(column)], column.comment or "", source


def _kind_of(column: Column[Any]) -> str:
    column_type = column.type
    if isinstance(column_type, Money):
        return "amount"
    if isinstance(column_type, UtcTime) or column.name.endswith("_utc"):
        return "time, UTC"
    if isinstance(column_type, WallClock):
        return "time"
    if isinstance(column_type, Date):
        return "date"
    if isinstance(column_type, Integer):
        return "whole number"
    if isinstance(column_type, String | Text | LongText):
        return "text"
    raise NotImplementedError(f"column {column.name} has an unknown type")


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # a TextIOWrapper on the command line
    sys.stdout.write(render_dictionary())
