"""The sources of the dbt package, generated from the views.

`python -m etl.reports.dbt_sources > bi/dbt/models/sources.yml`
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Final

from etl.db.view_columns import VIEW_COLUMNS, ViewColumn

_HEAD: Final = """# Generated from the schema by `make dictionary`; a test fails if it is out of date.
version: 2

sources:
  - name: billing
    description: The views of billing-etl. Days are those of the vendor's wall clock; times are UTC without a zone.
    schema: "{{ var('billing_schema') }}"
    loader: billing-etl
    tables:
"""
_FRESHNESS: Final = """        loaded_at_field: last_success_at
        freshness:
          warn_after: {count: 26, period: hour}
          error_after: {count: 48, period: hour}
"""
_NEVER_NULL: Final = {
    "billing": ("account", "created_at", "day", "price", "repeats", "amount", "day_state", "first_seen_at"),
    "daily_spend": ("account", "day", "records", "delivered", "failed", "spend", "day_state"),
    "monthly_spend": ("account", "month", "records", "delivered", "failed", "spend", "restated"),
    "delivery_by_operator": ("account", "day", "records", "delivered", "delivery_rate", "spend", "currency"),
    "daily_channels": ("account", "day", "channel", "records", "delivered", "delivery_rate", "spend", "currency"),
    "hourly_spend": ("account", "day", "hour", "records", "delivered", "failed", "spend"),
    "restated_days": ("account", "day", "first_closed_at", "restated_at", "spend_before", "spend_after", "delta"),
    "balance_proof": ("account", "opened_at", "closed_at", "opening", "closing", "charged", "top_ups", "finding"),
    "freshness": ("account", "open_days", "suspect_days"),
}
"""Columns that are tested for NULL, by view."""
_VALUES: Final = {
    "day_state": ("open", "settling", "closed", "suspect"),
    "finding": ("explained", "restated", "unexplained credit", "unexplained charge", "waits for days"),
}
"""All values of a column, by its name."""
_MORE_VALUES: Final = {("calendar", "day_state"): ("missing",)}


def sources() -> str:
    """The YAML of the sources: each view with its columns, their meanings and tests."""
    return _HEAD + "".join(line for view, columns in VIEW_COLUMNS.items() for line in _table(view, columns))


def _table(view: str, columns: tuple[ViewColumn, ...]) -> Iterator[str]:
    yield f"      - name: {view}\n"
    if view == "freshness":
        yield _FRESHNESS
    yield "        columns:\n"
    for column in columns:
        yield f"          - name: {column.name}\n"
        yield f"            description: {json.dumps(column.meaning, ensure_ascii=False)}\n"
        if tests := list(_tests(view, column.name)):
            yield "            data_tests:\n"
            yield from tests


def _tests(view: str, column: str) -> Iterator[str]:
    if column in _NEVER_NULL.get(view, ()):
        yield "              - not_null\n"
    if (view, column) == ("freshness", "account"):
        yield "              - unique\n"
    if values := _VALUES.get(column):
        listed = ", ".join((*values, *_MORE_VALUES.get((view, column), ())))
        yield f"              - accepted_values:\n                  values: [{listed}]\n"


if __name__ == "__main__":
    sys.stdout.write(sources())
