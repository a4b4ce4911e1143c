"""Bulk inserts on each database: every value is read back unchanged."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from itertools import count

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import DBAPIError

from etl.db.dialects.bulk_insert import bulk_insert
from etl.db.dialects.mariadb import MAX_STATEMENT_LENGTH
from etl.db.dialects.row_batches import BATCH_SIZE
from etl.db.engine import new_engine, read_connection
from etl.db.errors import describe_error
from etl.db.records import load_rows
from etl.db.tables import billing_records
from etl.model import day_bounds

SHARED = {"account_id": 1, "first_seen_at": "2026-03-11 06:30:00.000001"}
COLUMNS = (
    "created_at", "phone", "code_auth", "ordinal", "status", "status_info", "price", "repeats", "utc_offset",
)  # fmt: skip
PHONE = "9243555100"
HOSTILE = (
    "'", "''", "\\", "\\'", "'\\", '"', "`", "%", "%s", "%%", "%(x)s", "?", "?1", ":x", "$1", "{}", "\\N", "\\.", "\\x",
    "None", "NULL", "\t", "\n", "\r", "\r\n", "a\tb\nc\rd", "\x01", "\x08", "\x1a", "\x1b", "\x7f", "\x85", "\u2028",
    "\x1d", "\x1e", "\x1f", "\x1f\x1f", "a\x1eb", "'\x1d'", "'),(", "'); DROP TABLE billing_records; --", "/*", "#",
    ";", "я", "🙂", "🙂'\\", "\ufffd", "e\u0301", "﷽", " ", " a ", "", "0", "1e3", "true", "x" * 100_000, "'" * 70_000,
)  # fmt: skip
"""Texts that a database, a driver or this program might interpret. None contains what `storable` removes."""


@pytest.fixture
def engine(database_url) -> Engine:
    return new_engine(database_url)


def row(ordinal, info="ok", *, status: int | None = 1, code="0371"):
    """The values of one record; the ordinal distinguishes it from all others."""
    return ("2026-03-09 10:00:00", f"+7{PHONE}", code, ordinal, status, info, "0.200000", 1, 180)


def insert(engine, rows, shared=SHARED, columns=COLUMNS):
    with engine.begin() as connection:
        bulk_insert(connection, billing_records, shared, in_columns(rows, columns))


def in_columns(rows, names=COLUMNS):
    return dict(zip(names, tuple(zip(*rows, strict=True)) or ((),) * len(names), strict=True))


def stored(engine, *names):
    """Columns of all rows as the database returns them, in order of the ordinal."""
    with engine.connect() as connection:
        columns = [billing_records.c[name] for name in names]
        return [tuple(found) for found in connection.execute(select(*columns).order_by(billing_records.c.ordinal))]


@pytest.mark.fault(65, 70)
def test_hostile_texts_are_stored_unchanged_beside_any_other_text(engine):
    numbers = count(1)
    given = []

    def some(texts, **values):
        rows = [row(next(numbers), info, **values) for info in texts]
        given.extend(rows)
        insert(engine, rows)

    for info in HOSTILE:
        some(["plain", info, "plain"])
        some([info], status=None)
    some(HOSTILE)
    some(HOSTILE, code="'\\\t\x1f%s")
    names = ("phone", "code_auth", "ordinal", "status", "status_info")
    assert stored(engine, *names) == [values[1:6] for values in given]


def test_a_hostile_text_shared_by_all_rows_is_stored_unchanged(engine):
    codes = [info for info in HOSTILE if len(info) < 256]
    own = (*COLUMNS[:2], *COLUMNS[3:])
    for number, code in enumerate(codes, 1):
        values = row(number, status=None)
        insert(engine, [(*values[:2], *values[3:])], SHARED | {"code_auth": code}, own)
    assert stored(engine, "code_auth", "ordinal") == [(code, number) for number, code in enumerate(codes, 1)]


def test_every_column_is_filled_with_its_own_value(engine):
    insert(engine, [row(7, "Busy", status=-(2**63))])
    with engine.connect() as connection:
        one = connection.execute(text("SELECT * FROM billing_records")).one()._asdict()
    spelled = {name: value if value is None else str(value) for name, value in one.items()}
    assert spelled == {
        "account_id": "1", "created_at": "2026-03-09 10:00:00", "phone": f"+7{PHONE}", "code_auth": "0371",
        "ordinal": "7", "status": str(-(2**63)), "status_info": "Busy", "price": "0.200000", "repeats": "1",
        "utc_offset": "180", "first_seen_at": SHARED["first_seen_at"], "updated_at": None, "withdrawn_at": None,
        "channel": None,
    }  # fmt: skip


@pytest.mark.fault(65, 70)
@pytest.mark.parametrize("texts", [[text for text in HOSTILE if "\x1f" not in text], HOSTILE], ids=["most", "all"])
def test_hostile_texts_are_read_back_unchanged(engine, texts):
    phones = [text for text in texts if len(text) < 256]
    given = [row(number, info, status=number % 3 or None) for number, info in enumerate(texts, 1)]
    given += [
        (time, phone, "", number, *rest)
        for number, phone in enumerate(phones, len(given) + 1)
        for time, _, _, _, *rest in [row(number)]
    ]
    insert(engine, given)
    with read_connection(engine) as connection:
        found = load_rows(connection, SHARED["account_id"], *day_bounds(date(2026, 3, 9)))
        assert not load_rows(connection, SHARED["account_id"], *day_bounds(date(2026, 3, 10)))
    assert {(*row.record, row.ordinal, row.repeats, row.withdrawn) for row in found} == {
        (time, phone, code, status, info, Decimal(price), ordinal, repeats, False)
        for time, phone, code, ordinal, status, info, price, repeats, _utc in given
    }


@pytest.mark.parametrize("size", [0, 1, 2, 3, 1023, BATCH_SIZE - 1, BATCH_SIZE, BATCH_SIZE + 1, 2 * BATCH_SIZE + 1021])
def test_any_number_of_rows_is_inserted_once(engine, size):
    insert(engine, (row(number, f"{number}", status=number % 7 or None) for number in range(size)))
    assert stored(engine, "ordinal", "status", "status_info") == [(n, n % 7 or None, f"{n}") for n in range(size)]


def test_rows_too_long_for_one_statement_are_inserted(engine):
    # Together more than 16 MiB, the packet size of a MariaDB server.
    infos = ["я" * (MAX_STATEMENT_LENGTH // 4) + str(number) for number in range(40)]
    insert(engine, [row(number, info) for number, info in enumerate(infos)])
    assert stored(engine, "status_info") == [(info,) for info in infos]


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_backslashes_are_stored_unchanged_with_no_backslash_escapes(engine):
    infos = [info for info in HOSTILE if len(info) < 256]
    with engine.begin() as connection:
        connection.exec_driver_sql("SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES'")
        rows = [row(n, info) for n, info in enumerate(infos)]
        bulk_insert(connection, billing_records, SHARED, in_columns(rows))
    assert stored(engine, "status_info") == [(info,) for info in infos]


@pytest.mark.parametrize("info", ["ok", "\x1f"])
def test_a_refused_row_leaves_no_rows_and_is_not_in_the_error(engine, info):
    with pytest.raises(DBAPIError) as raised:
        insert(engine, [row(1, info), row(2, info), row(1, info)])
    error = raised.value
    assert PHONE not in str(error.statement)
    assert PHONE not in describe_error(error)
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(billing_records)) == 0
