"""The numbering plan in the database: files replace their own codes, and a number finds its range by an index."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text
from support.run_helpers import settings_of
from support.sync_account import just_before
from support.totals_of_rows import write_totals_of_rows

from etl.db.engine import new_engine
from etl.db.lock import advisory_lock
from etl.db.tables import accounts, billing_records, numbering_ranges
from etl.errors import ConcurrentRunError, ConfigError, SchemaMismatchError
from etl.services.numbering import import_plan

DATA = Path(__file__).parents[1] / "data" / "numbering"
NOW = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)


@pytest.fixture
def settings(database_url, sandbox):
    return settings_of(database_url, sandbox, date(2026, 3, 1))


def take_in(settings, *names):
    return import_plan(settings, [DATA / name for name in names], clock=lambda: NOW)


def stored(settings):
    with new_engine(settings.database_url).connect() as connection:
        return [tuple(row) for row in connection.execute(select(numbering_ranges).order_by("first_phone"))]


def short(settings):
    return [(first, last, operator) for _, first, last, operator, *_ in stored(settings)]


def test_a_file_is_stored_completely_in_rows_within_blocks(settings):
    imported = take_in(settings, "DEF-9xx.csv")
    changed_at = datetime.fromtimestamp((DATA / "DEF-9xx.csv").stat().st_mtime, UTC)
    known = ("DEF-9xx.csv", changed_at, NOW)
    one, two, three = "7700000001", "7700000002", "7700000003"
    assert stored(settings) == [
        ("+790000", "+79000000000", "+79000049999", 'ООО "Первый"', "Краснодарский край", one, *known),
        ("+790000", "+79000050000", "+79000099999", 'АО "Второй"', "г. Москва", two, *known),
        ("+790001", "+79000100000", "+79000199999", 'АО "Второй"', "г. Москва", two, *known),
        ("+790002", "+79000200000", "+79000249999", 'АО "Второй"', "г. Москва", two, *known),
        ("+790003", "+79000300000", "+79000300999", 'ООО "Первый"', "Тверская область", one, *known),
        ("+792435", "+79243550000", "+79243559999", 'ПАО "Третий"', "Хабаровский край", three, *known),
        ("+799999", "+79999999990", "+79999999999", 'АО "Второй"', "Российская Федерация", None, *known),
    ]
    assert (imported.codes, imported.numbers, imported.overlapping, imported.rows, imported.replaced) == (
        ["9xx"], 261_010, 0, 7, 0,
    )  # fmt: skip


def test_a_file_replaces_only_its_own_codes(settings):
    take_in(settings, "DEF-9xx.csv")
    take_in(settings, "ABC-4xx.csv")
    city = short(settings)[:101]
    assert take_in(settings, "DEF-9xx_older.csv").replaced == 7
    assert short(settings) == [
        *city,
        ("+79000000000", "+79000049999", 'ООО "Прежний"'),
        ("+79000050000", "+79000099999", 'АО "Второй"'),
        ("+79000100000", "+79000199999", 'АО "Второй"'),
        ("+79000200000", "+79000249999", 'АО "Второй"'),
    ]


def test_several_files_of_one_import_are_one_plan(settings):
    imported = take_in(settings, "DEF-9xx.csv", "ABC-4xx.csv")
    assert (imported.codes, imported.rows, len(stored(settings))) == (["4xx", "9xx"], 108, 108)
    assert sorted(Path(name).name for name in imported.files) == ["ABC-4xx.csv", "DEF-9xx.csv"]
    take_in(settings, "DEF-9xx.csv", "ABC-4xx.csv")
    assert len(stored(settings)) == 108


def test_a_refused_file_changes_nothing(settings):
    take_in(settings, "DEF-9xx.csv")
    before = stored(settings)
    with pytest.raises(ConfigError):
        take_in(settings, "ABC-4xx.csv", "contradicting.csv")
    assert stored(settings) == before


def test_an_interrupted_import_changes_nothing(settings):
    take_in(settings, "DEF-9xx.csv")
    before = stored(settings)

    def break_off():
        raise KeyboardInterrupt

    with just_before("INSERT INTO numbering_ranges", break_off), pytest.raises(KeyboardInterrupt):
        take_in(settings, "DEF-9xx_older.csv")
    assert stored(settings) == before


def test_concurrent_imports_are_serialised(settings):
    take_in(settings, "DEF-9xx.csv")
    held = advisory_lock(new_engine(settings.database_url), "numbering", wait=0)
    with held, pytest.raises(ConcurrentRunError):
        import_plan(settings, [DATA / "DEF-9xx_older.csv"], wait=0)


@pytest.mark.empty_database
def test_an_import_creates_no_schema_without_auto_migrate(settings):
    with pytest.raises(SchemaMismatchError, match="no schema yet"):
        take_in(replace(settings, auto_migrate=False), "DEF-9xx.csv")


# --- the look-up ------------------------------------------------------------------------------------------------------

PHONES = {
    "+79000000000": 'ООО "Первый"',
    "+79000049999": 'ООО "Первый"',
    "+79000050000": 'АО "Второй"',
    "+79000100000": 'АО "Второй"',
    "+79000249999": 'АО "Второй"',
    "+79000250000": None,  # between two ranges
    "+79000300999": 'ООО "Первый"',
    "+79000301000": None,
    "+79243555100": 'ПАО "Третий"',
    "+79999999989": None,
    "+79999999999": 'АО "Второй"',
    "+74951000001": None,  # of a file that nobody imported
    "+7924*****00": None,
    "+7900***1234": None,
    "+7900000***1": None,
    "+7900000123": None,
    "+790000012345": None,
    "+7900000 012": None,
    "79000000001": None,
    "9000000001": None,
    "0001": None,
    "": None,
    "forgotten": None,
    "hmac-1a2b3c4d-" + "0" * 64: None,
}


def put_records(engine, phones):
    moment = datetime(2026, 3, 10, 10, tzinfo=UTC).replace(tzinfo=None)
    with engine.begin() as connection:
        connection.execute(insert(accounts), [{"id": 1, "label": "default", "created_at": NOW}])
        row = {
            "account_id": 1, "created_at": moment, "code_auth": "", "status": 1, "status_info": "", "price": Decimal(1),
            "repeats": 1, "utc_offset": 180, "first_seen_at": NOW,
        }  # fmt: skip
        connection.execute(
            insert(billing_records), [row | {"phone": phone, "ordinal": n} for n, phone in enumerate(phones)]
        )
        write_totals_of_rows(connection, 1)


def test_only_full_numbers_have_the_operator_and_region_of_their_range(settings):
    engine = new_engine(settings.database_url)
    put_records(engine, PHONES)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT DISTINCT operator, region FROM billing")).all() == [(None, None)]
    take_in(settings, "DEF-9xx.csv")
    with engine.connect() as connection:
        found = connection.execute(text("SELECT phone, operator, region IS NULL FROM billing")).all()
    assert {phone: operator for phone, operator, _ in found} == PHONES
    assert all(bool(without) == (operator is None) for _, operator, without in found)


@pytest.fixture
def explain(settings):
    """The query plan of a query over records and a numbering plan of some thousand ranges, on one line."""
    engine = new_engine(settings.database_url)
    put_records(engine, [f"+79{n * 7919:09}" for n in range(2000)])
    known = {"operator": "o", "region": "r", "file_name": "f", "file_changed_at": NOW, "imported_at": NOW}
    blocks = [f"+79{n:04}" for n in range(5000)]
    with engine.begin() as connection:
        connection.execute(insert(numbering_ranges), [
            known | {"block": block, "first_phone": f"{block}00000", "last_phone": f"{block}99999"} for block in blocks
        ])  # fmt: skip
        analyse = "ANALYZE TABLE numbering_ranges, billing_records" if engine.dialect.name == "mariadb" else "ANALYZE"
        connection.exec_driver_sql(analyse)

    def explain(query):
        backend = engine.dialect.name
        verb = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN"}.get(backend, "ANALYZE FORMAT=JSON")
        with engine.connect() as connection:
            return " ".join(str(row[-1]) for row in connection.exec_driver_sql(f"{verb} {query}").all())

    explain.backend = engine.dialect.name
    return explain


BY_INDEX = {
    "sqlite": r"SEARCH n USING (COVERING )?INDEX sqlite_autoindex_numbering_ranges_1 \(block=\? AND first_phone<\?\)",
    "postgresql": r"Index Scan using pk_numbering_ranges on numbering_ranges n.*?"
    r"Index Cond: \(\(\(block\)::text = substr.*? AND \(\(first_phone\)::text <= ",
    "mariadb": r'"table_name": "n",\s+"access_type": "ref",\s+"possible_keys": \["PRIMARY"\],\s+"key": "PRIMARY",'
    r'\s+"key_length": "\d+",\s+"used_key_parts": \["block"\]',
}


@pytest.mark.parametrize(
    "query",
    [
        "SELECT phone, operator FROM billing",
        "SELECT phone, region FROM billing WHERE day = '2026-03-10'",
        "SELECT operator, COUNT(*) FROM billing GROUP BY operator",
    ],
)
def test_an_operator_is_found_by_the_index(explain, query):
    plan = explain(query)
    assert re.search(BY_INDEX[explain.backend], plan, re.DOTALL), plan
    assert not re.search(
        r"SCAN n\b|Seq Scan on numbering_ranges|\"table_name\": \"n\",\s+\"access_type\": \"ALL\"", plan
    )


def test_no_operator_is_looked_up_when_none_is_selected(explain):
    plan = explain("SELECT day, amount FROM billing")
    if explain.backend == "mariadb":  # it plans what it then never does
        looked = re.findall(r'"table_name": "n",.*?"r_loops": (\d+)', plan, re.DOTALL)
        assert set(looked) <= {"0"}
        assert re.search(r'"table_name": "r",.*?"r_rows": 2000', plan, re.DOTALL)
    else:
        assert "numbering_ranges" not in plan
        assert " n " not in plan
