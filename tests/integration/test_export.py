"""The export: files equal the view on every database, and contain no active formula."""

from __future__ import annotations

import csv
import gzip
import os
import signal
import stat
from contextlib import closing, nullcontext
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from openpyxl.utils.escape import unescape as openpyxl_unescape
from pyarrow import parquet
from sqlalchemy import event, text
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of

from etl.atomic_file import atomic_write
from etl.config.database_url import parse_url
from etl.db.engine import new_engine, read_connection
from etl.errors import ConfigError, DatabaseError, DiskFullError, Interrupted
from etl.reports.columns import BILLING, COLUMNS, EXPORT_VIEWS
from etl.reports.csv_writer import csv_writer, unescape
from etl.reports.excel_numbers import MAX_DIGITS
from etl.reports.export import FORMATS, export_records, writer_for
from etl.reports.parquet_writer import open_parquet
from etl.reports.query import BATCH_SIZE, ExportFilter, iter_batches
from etl.reports.xlsx_writer import open_xlsx
from etl.services.run import RunRequest
from etl.services.sync import run_sync

ZONE = ZoneInfo("Europe/Moscow")
MORNING = datetime(2026, 3, 11, 6, 30, 0, 1, tzinfo=UTC)
EXPECTED = Path(__file__).parents[1] / "data" / "export" / "hostile.csv"
HUGE = "999999999999.999999"
TEXTS = [
    "ok", "", "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "\u00a0=1", "\ufeff=1", "\u200b=1",
    "＝1", "＋1", "－1", "＠x", "﹦1", "'", "'=1", "''", 'he said "no"', "a,b", "ok;=1+1", "ok\t=1", "ok\n=1", "x;'y",
    "нет ответа", "🙂", "\u202e=1", '"=1', "a\x00b",
]  # fmt: skip


def charge(created_at, price="0.2", status=1, info="ok", phone="89243555100", code="0371"):
    return {
        "created_at": created_at,
        "code_auth": code,
        "status": status,
        "status_info": info,
        "phone": phone,
        "price": Decimal(price),
    }


LISTED = [
    *[charge(f"2026-03-08T10:00:{n:02}", info=info) for n, info in enumerate(TEXTS)],
    *[charge("2026-03-09T10:00:00", "0.1", None, None)] * 3,
    charge("2026-03-09T10:00:01", HUGE, 2),
    *[charge("2026-03-09T10:00:02", "-" + HUGE)] * 7,
    charge("2026-03-09T10:00:03", "-0.000001", code="=1+1"),
    charge("2026-03-09T10:00:04", phone="=cmd|' /C calc'!A0", code="-5"),
    charge("2026-03-09T10:00:04", phone="+375291234567"),
    charge("2026-03-09T10:00:04", phone="", code=None),
    charge("2026-03-09T10:00:04", phone="Я", code="B"),
    charge("2026-03-09T10:00:04", phone="Я", code="a"),
    charge("2026-03-11T08:00:00"),
]


class Account:
    """An account in a database, and its exports."""

    def __init__(self, url, vendor, label="=default", listed=LISTED):
        vendor.dataset.replace(listed)
        self.engine = open_engine(url)
        self.settings = settings_of(url, vendor, date(2026, 3, 8), account=label)
        self.now = MORNING
        self.sync()

    def sync(self):
        report = run_sync(self.settings, RunRequest("sync"), NO_PROGRESS, redact=str, clock=lambda: self.now)
        assert report.error is None

    def export(self, ending=".csv", *, anonymise=False, output=None, excel_russian=False, view="billing", **selection):
        file = BytesIO()
        exported = export_records(
            self.engine, ExportFilter(**selection, view=EXPORT_VIEWS[view]),
            writer_for(ending, excel_russian=excel_russian), output or nullcontext(file), zone=ZONE,
            anonymise=anonymise,
        )  # fmt: skip
        return exported, file.getvalue()

    def view(self, columns="*"):
        with closing(self.engine.connect()) as connection:
            return connection.execute(text(f"SELECT {columns} FROM billing")).mappings().all()


@pytest.fixture
def account(database_url, sandbox):
    return Account(database_url, sandbox)


@pytest.fixture
def on_sqlite(sqlite_url, sandbox):
    return Account(sqlite_url, sandbox)


def cells(content):
    return list(csv.DictReader(content.decode("utf-8").splitlines(keepends=True), strict=True))


SPELLED = {
    bool: lambda flag: str(flag).lower(),
    datetime: lambda moment: moment.isoformat(" ", "microseconds" if moment.microsecond else "auto"),
}


def as_in_csv(table):
    """Rows of a Parquet file, spelled as in a CSV file."""
    return [
        {name: "" if value is None else SPELLED.get(type(value), str)(value) for name, value in row.items()}
        for row in table.to_pylist()
    ]


def test_an_export_has_all_columns_of_the_view_in_order(account):
    assert list(account.view()[0]) == list(COLUMNS)


@pytest.mark.fault(58)
def test_hostile_texts_are_exported_as_text_and_never_as_formulas(account):
    exported, content = account.export()
    rows = cells(content)
    assert exported.rows == len(rows) == len(LISTED) - 8
    assert [unescape(row["status_info"]) for row in rows[: len(TEXTS)]] == [
        info.replace("\x00", "\ufffd") for info in TEXTS
    ]
    for row in rows:
        for name in ("account", "code_auth", "status_info", "operator", "region", "day_state"):
            for part in row[name].replace("\t", ";").replace("\n", ";").replace("\r", ";").split(";"):
                assert part.strip(" \u00a0\ufeff\u200b\u202e")[:1] not in set("=+-@＝＋－＠﹦") - {""}, row[name]
    assert {row["account"] for row in rows} == {"'=default"}
    assert [(row["phone"], row["code_auth"], row["price"], row["amount"], row["repeats"]) for row in rows[-10:]] == [
        ("+79243555100", "0371", "0.100000", "0.300000", "3"),
        ("+79243555100", "0371", HUGE, HUGE, "1"),
        ("+79243555100", "0371", "-" + HUGE, "-6999999999999.999993", "7"),
        ("+79243555100", "'=1+1", "-0.000001", "-0.000001", "1"),
        ("", "", "0.200000", "0.200000", "1"),
        ("+375291234567", "0371", "0.200000", "0.200000", "1"),
        ("'=cmd|' /C calc'!A0", "'-5", "0.200000", "0.200000", "1"),
        ("Я", "B", "0.200000", "0.200000", "1"),
        ("Я", "a", "0.200000", "0.200000", "1"),
        ("+79243555100", "0371", "0.200000", "0.200000", "1"),
    ]
    assert rows[-10] == {
        "account": "'=default", "created_at": "2026-03-09 10:00:00", "created_at_utc": "2026-03-09 07:00:00+00:00",
        "day": "2026-03-09", "phone": "+79243555100", "code_auth": "0371", "status": "", "status_info": "",
        "price": "0.100000", "repeats": "3", "amount": "0.300000", "delivered": "false",
        "operator": rows[-10]["operator"], "region": rows[-10]["region"], "day_state": "settling",
        "first_seen_at": "2026-03-11 06:30:00.000001+00:00", "updated_at": "2026-03-11 06:30:00.000001+00:00",
        "channel": "unknown",
    }  # fmt: skip


def test_a_csv_file_conforms_to_rfc_4180(account):
    _, content = account.export()
    assert content.startswith(",".join(COLUMNS).encode() + b"\r\n")
    assert content.endswith(b"\r\n")
    assert b'"he said ""no""",' in content
    assert b'"a,b",' in content


def test_a_csv_file_equals_the_expected_file_byte_by_byte(account):
    assert account.export()[1] == EXPECTED.read_bytes()


def test_each_database_produces_the_same_file(account, tmp_path, sandbox):
    other = Account(parse_url(f"sqlite:///{tmp_path / 'other.db'}"), sandbox)
    for ending in FORMATS:
        assert account.export(ending)[1] == other.export(ending)[1]


def test_each_view_is_exported_completely_and_equally_from_each_database(account, tmp_path, sandbox):
    other = Account(parse_url(f"sqlite:///{tmp_path / 'other.db'}"), sandbox)
    for view, exported_view in EXPORT_VIEWS.items():
        _, content = account.export(view=view)
        rows = cells(content)
        with closing(account.engine.connect()) as connection:
            result = connection.execute(text(f"SELECT * FROM {view}"))
            assert list(result.keys()) == list(exported_view.columns)
            assert len(rows) == len(result.all())
        if view != "freshness":  # its hours depend on the clock
            assert content == other.export(view=view)[1]
        table = parquet.read_table(BytesIO(account.export(".parquet", view=view)[1]))
        assert (table.num_rows, table.column_names) == (len(rows), list(exported_view.columns))


def test_a_range_selects_days_of_a_daily_view_and_months_of_a_monthly_view(account):
    ninth, april = date(2026, 3, 9), date(2026, 4, 1)

    def exported(view, column, **days):
        return [row[column] for row in cells(account.export(view=view, **days)[1])]

    assert exported("daily_spend", "day", since=ninth) == ["2026-03-09", "2026-03-11"]
    assert exported("daily_spend", "day", since=ninth, until=ninth) == ["2026-03-09"]
    assert exported("monthly_spend", "month", since=ninth, until=ninth) == ["2026-03-01"]
    assert exported("monthly_spend", "month", since=april) == exported(
        "monthly_spend", "month", until=date(2026, 2, 28)
    )


def test_a_compressed_csv_contains_the_csv(account):
    assert gzip.decompress(account.export(".csv.gz")[1]) == account.export()[1]


# Excel ----------------------------------------------------------------------------------------------------------------


def excel_cell(name, cell):
    """A cell as the CSV has it, for comparison."""
    if cell is None:
        return ""
    kind = COLUMNS[name].name
    if isinstance(cell, datetime):
        if kind == "DAY":
            return cell.date().isoformat()
        return cell.isoformat(" ", "seconds")
    if isinstance(cell, bool):
        return str(cell).lower()
    return openpyxl_unescape(cell) if isinstance(cell, str) else Decimal(str(cell))


def as_excel_shows(name, text):
    """The cell of a CSV as Excel should show it."""
    kind = COLUMNS[name].name
    if kind.endswith("_UTC"):
        return text[:19]
    if (
        text
        and kind in {"PRICE", "AMOUNT", "NUMBER"}
        and len(Decimal(text).normalize().as_tuple().digits) <= MAX_DIGITS
    ):
        return Decimal(text)
    return unescape(text)


def test_a_workbook_has_typed_cells_a_frozen_header_and_no_formula(account):
    exported, content = account.export(".xlsx")
    assert content == account.export(".xlsx")[1], "equal rows give equal files"
    workbook = openpyxl.load_workbook(BytesIO(content))
    [sheet] = workbook.worksheets
    assert (sheet.title, sheet.freeze_panes, sheet.max_row) == ("billing", "A2", exported.rows + 1)
    header, *rows = sheet.iter_rows()
    assert [cell.value for cell in header] == list(COLUMNS)
    expected = cells(account.export()[1])
    texts = {"account", "phone", "code_auth", "status_info", "day_state"}
    for row, as_csv in zip(rows, expected, strict=True):
        for name, cell in zip(COLUMNS, row, strict=True):
            assert cell.data_type != "f", "a formula"
            if name in texts and cell.value is not None:
                assert (cell.data_type, cell.number_format, cell.quotePrefix) == ("s", "@", True)
            assert excel_cell(name, cell.value) == as_excel_shows(name, as_csv[name]), name
    first = dict(zip(COLUMNS, rows[0], strict=True))
    assert (first["day"].is_date, first["created_at"].is_date, first["amount"].data_type) == (True, True, "n")
    huge = [row for row in rows if dict(zip(COLUMNS, row, strict=True))["price"].value == HUGE]
    assert len(huge) == 1, "too many digits for a number of Excel"


def test_more_rows_than_a_sheet_holds_continue_on_the_next_one(on_sqlite):
    output = BytesIO()
    exported = export_records(on_sqlite.engine, ExportFilter(), open_xlsx(10), nullcontext(output), zone=ZONE)
    sheets = openpyxl.load_workbook(BytesIO(output.getvalue())).worksheets
    assert [sheet.title for sheet in sheets[:2]] == ["billing", "billing 2"]
    assert {tuple(cell.value for cell in sheet[1]) for sheet in sheets} == {tuple(COLUMNS)}
    assert sum(sheet.max_row - 1 for sheet in sheets) == exported.rows
    assert max(sheet.max_row for sheet in sheets) == 10


def test_long_texts_and_years_before_1900_make_a_valid_workbook(caplog):
    row = ["a", "1899-12-31 23:59:59", "1899-12-31 21:00:00+00:00", "1899-12-31", "", "", None, "🙂" * 40_000,
           "0.100000", "1", "0.100000", "false", None, None, "closed", None, None, None]  # fmt: skip
    output = BytesIO()
    assert open_xlsx()(output, BILLING, [[row]]) == 1
    assert "1 texts were cut to the 32,767 characters" in caplog.text
    [_, cells_of_row] = openpyxl.load_workbook(BytesIO(output.getvalue())).active.iter_rows(values_only=True)
    assert cells_of_row[1] == "1899-12-31 23:59:59"
    assert cells_of_row[7] == "🙂" * (32_767 // 2)
    assert cells_of_row[8] == 0.1


def test_a_parquet_file_has_the_same_rows_and_exact_types(account):
    exported, content = account.export(".parquet")
    table = parquet.read_table(BytesIO(content))
    _, as_csv = account.export()
    exported_rows = [{name: unescape(value) for name, value in row.items()} for row in cells(as_csv)]
    assert exported.rows == len(exported_rows)
    assert as_in_csv(table) == exported_rows
    label = "dictionary<values=string, indices=int32, ordered=0>"
    assert {name: str(table.schema.field(name).type) for name in COLUMNS} == {
        "account": label, "status_info": label, "operator": label, "region": label, "day_state": label,
        "created_at": "timestamp[ms]", "created_at_utc": "timestamp[us, tz=UTC]", "day": "date32[day]",
        "phone": "string", "code_auth": "string", "status": "int64", "price": "decimal128(18, 6)", "repeats": "int64",
        "amount": "decimal128(38, 6)", "delivered": "bool", "first_seen_at": "timestamp[us, tz=UTC]",
        "updated_at": "timestamp[us, tz=UTC]", "channel": label,
    }  # fmt: skip


def test_rows_are_fetched_from_the_server_in_batches(database_url, sandbox):
    account = Account(database_url, sandbox, listed=[charge("2026-03-08T10:00:00")])
    with account.engine.begin() as connection:
        row = dict(connection.execute(text("SELECT * FROM billing_records")).mappings().one())
        names = ", ".join(row)
        connection.execute(
            text(f"INSERT INTO billing_records ({names}) VALUES ({', '.join(':' + name for name in row)})"),
            [row | {"created_at": f"2026-03-08 1{n // 3600}:{n // 60 % 60:02}:{n % 60:02}", "ordinal": 2}
             for n in range(2 * BATCH_SIZE)],
        )  # fmt: skip
    cursors = []

    def note(_connection, cursor, statement, *_):
        if "billing" in statement and "ORDER BY" in statement:
            cursors.append(cursor)

    event.listen(account.engine, "before_cursor_execute", note)
    with read_connection(account.engine) as connection:
        batches = iter_batches(connection, ExportFilter())
        assert len(next(batches)) == BATCH_SIZE
        # SQLite has only such cursors; with these options the servers' drivers leave the other rows on the server.
        assert type(cursors[0]).__name__ == {
            "sqlite": "Cursor", "postgresql": "ServerCursor", "mariadb": "SSCursor",
        }[database_url.get_backend_name()]  # fmt: skip
        assert [len(batch) for batch in batches] == [BATCH_SIZE, 1]


def test_only_requested_days_and_accounts_are_exported(account, sandbox, database_url):
    Account(database_url, sandbox, "shop", [charge("2026-03-10T23:59:59"), charge("2026-03-11T00:00:00")])

    def exported(**selection):
        return [(row["account"], row["day"]) for row in cells(account.export(**selection)[1])]

    tenth = date(2026, 3, 10)
    assert exported(since=tenth) == [
        ("'=default", "2026-03-11"), ("shop", "2026-03-10"), ("shop", "2026-03-11"),
    ]  # fmt: skip
    assert exported(since=tenth, until=tenth) == [("shop", "2026-03-10")]
    assert exported(since=tenth, accounts=("=default",)) == [("'=default", "2026-03-11")]
    assert exported(since=date(2027, 1, 1)) == []
    assert set(exported(until=date(2026, 3, 8))) == {("'=default", "2026-03-08")}
    with pytest.raises(ConfigError, match="no such account; it has =default, shop"):
        exported(accounts=("shop", "nobody"))


def test_an_empty_range_gives_a_file_with_only_a_header(on_sqlite):
    nothing = {"since": date(2027, 1, 1)}
    assert on_sqlite.export(**nothing)[1] == ",".join(COLUMNS).encode() + b"\r\n"
    table = parquet.read_table(BytesIO(on_sqlite.export(".parquet", **nothing)[1]))
    assert (table.num_rows, table.column_names) == (0, list(COLUMNS))


def test_a_row_group_ends_with_the_batch_that_fills_it(on_sqlite):
    output = BytesIO()
    export_records(on_sqlite.engine, ExportFilter(), open_parquet(10), nullcontext(output), zone=ZONE, batch_size=6)
    file = parquet.ParquetFile(BytesIO(output.getvalue()))
    groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert groups[:2] == [12, 12]
    assert sum(groups) == file.metadata.num_rows == len(LISTED) - 8


# Anonymised exports ---------------------------------------------------------------------------------------------------

CALLED = [
    charge("2026-03-08T10:00:00"),
    charge("2026-03-08T10:00:01", info="SMS to 8 (924) 355-51-00, 2026-03-08, code 200"),
    charge("2026-03-08T10:00:02", phone="89990001122", info="tel.924.355.51.00"),
    charge("2026-03-08T10:00:03", phone=""),
]


def test_an_anonymised_export_distinguishes_people_without_identifying_them(database_url, sandbox):
    account = Account(database_url, sandbox, listed=CALLED)
    files = [account.export(ending, anonymise=True)[1] for ending in (".csv", ".csv", ".parquet")]
    people = []
    for content in files[:2]:
        rows = cells(content)
        one, again, other, empty = (row["phone"] for row in rows)
        assert (one == again, one == other, empty) == (True, False, "")
        assert one.startswith("person-")
        assert [row["code_auth"] for row in rows] == [""] * 4
        assert [row["status_info"] for row in rows] == ["ok", "SMS to ***, 2026-03-08, code 200", "tel.***", "ok"]
        people.append(one)
    assert people[0] != people[1], "the key is thrown away"
    for content in files:
        assert b"9243555100" not in content
        assert b"9990001122" not in content
        assert b"355-51" not in content
    amounts = [row["amount"] for row in cells(files[0])]
    assert amounts == [row["amount"] for row in cells(account.export()[1])]


def test_an_erased_person_gets_no_pseudonym(on_sqlite):
    with on_sqlite.engine.begin() as connection:
        first = "created_at = (SELECT MIN(created_at) FROM billing_records)"
        connection.execute(text(f"UPDATE billing_records SET phone = 'forgotten', code_auth = '' WHERE {first}"))
    _, content = on_sqlite.export(anonymise=True)
    assert [row["phone"] for row in cells(content)].count("forgotten") == 1


# The file -------------------------------------------------------------------------------------------------------------


def file_names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_a_new_file_is_private_and_a_replaced_file_keeps_its_mode(folder):
    before = os.umask(0o027)
    try:
        with atomic_write(folder / "a.csv") as file:
            file.write(b"one")
        assert stat.S_IMODE((folder / "a.csv").stat().st_mode) == 0o600
        (folder / "a.csv").chmod(0o604)
        with atomic_write(folder / "a.csv") as file:
            file.write(b"two")
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "a.csv").stat().st_mode) == 0o604
    assert ((folder / "a.csv").read_bytes(), file_names(folder)) == (b"two", ["a.csv"])


def test_the_old_file_stays_until_the_new_one_is_complete(folder):
    (folder / "a.csv").write_bytes(b"old")

    def fail(error):
        with atomic_write(folder / "a.csv") as file:
            file.write(b"new")
            file.flush()
            assert (folder / "a.csv").read_bytes() == b"old"
            raise error

    for error in (ValueError("a bug"), Interrupted(signal.SIGTERM)):
        with pytest.raises(type(error)):
            fail(error)
        assert ((folder / "a.csv").read_bytes(), file_names(folder)) == (b"old", ["a.csv"])


def test_a_link_is_followed(folder):
    (folder / "a.csv").symlink_to("b.csv")
    with atomic_write(folder / "a.csv") as file:
        file.write(b"new")
    assert ((folder / "b.csv").read_bytes(), (folder / "a.csv").is_symlink()) == (b"new", True)


def test_a_target_that_cannot_be_written_is_named(folder):
    os.mkfifo(folder / "pipe.csv")
    (folder / "a.csv").write_text("a file")
    for path in (folder / "nowhere" / "a.csv", folder / "a.csv" / "b.csv", folder / "pipe.csv", folder / ("x" * 300)):
        with pytest.raises(ConfigError, match=r"--out '.*' cannot be written: ."), atomic_write(path):
            pass
    assert file_names(folder) == ["a.csv", "pipe.csv"]


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.fault(107)
def test_a_full_disk_is_reported_and_leaves_no_file(on_sqlite, folder, ending):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with on_sqlite.engine.connect():
            resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
            with pytest.raises(DiskFullError, match="cannot be written: File too large"):
                on_sqlite.export(ending, output=atomic_write(folder / f"a{ending}"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert file_names(folder) == []


def test_a_signal_between_batches_ends_the_export_and_leaves_no_file(account, folder, handlers):
    seen = []

    def write(file, view, batches):
        for batch in batches:
            seen.append(len(batch))
            if len(seen) == 2:
                signal.raise_signal(signal.SIGTERM)
        return 0

    output = atomic_write(folder / "a.csv")
    with pytest.raises(Interrupted):
        export_records(account.engine, ExportFilter(), write, output, zone=ZONE, batch_size=10)
    assert (seen, file_names(folder)) == ([10, 10], [])


@pytest.mark.empty_database
def test_a_missing_or_empty_database_is_an_error_and_no_file_is_created(database_url, folder):
    engine = new_engine(database_url)
    with pytest.raises(DatabaseError, match=r"billing-etl (sync|migrate)"):
        export_records(engine, ExportFilter(), csv_writer(), atomic_write(folder / "a.csv"), zone=ZONE)
    assert file_names(folder) == []


def test_an_export_and_other_transactions_do_not_block_each_other(account):
    with read_connection(account.engine) as connection:
        batches = iter_batches(connection, ExportFilter())
        next(batches)
        account.now += timedelta(days=1)
        account.sync()
