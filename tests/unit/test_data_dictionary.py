"""docs/dictionary.md is generated from the schema, which has a comment for every column."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl.db.tables import metadata
from etl.db.view_columns import VIEW_COLUMNS
from etl.db.views import VIEWS
from etl.reports.data_dictionary import COLUMN_ORIGINS, render_dictionary

DICTIONARY = Path(__file__).parents[2] / "docs" / "dictionary.md"


def test_the_committed_dictionary_is_current() -> None:
    assert DICTIONARY.read_text("utf-8") == render_dictionary(), "run: make dictionary"


def test_every_view_column_is_described_in_order() -> None:
    assert tuple(VIEW_COLUMNS) == VIEWS
    assert [column for columns in VIEW_COLUMNS.values() for column in columns if not column.meaning] == []


@pytest.mark.parametrize("name", metadata.tables)
def test_every_table_and_column_has_a_comment(name: str) -> None:
    table = metadata.tables[name]
    assert table.comment
    assert [column.name for column in table.columns if not column.comment] == []


def test_sources_are_named_only_for_existing_columns() -> None:
    assert COLUMN_ORIGINS.keys() <= metadata.tables.keys()
    for table, sources in COLUMN_ORIGINS.items():
        assert sources.keys() <= set(metadata.tables[table].columns.keys()), table


def test_no_cell_breaks_a_table_row() -> None:
    rows = [line for line in render_dictionary().splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in rows} == {1, 3, 4}
