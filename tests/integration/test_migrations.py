"""Migrations with data: rows and views of each released revision are unchanged after an upgrade."""

from __future__ import annotations

from contextlib import contextmanager
from decimal import Decimal
from itertools import count
from pathlib import Path

import pytest
from alembic import command
from conftest import fresh_database
from sqlalchemy import Engine, event, inspect
from support.schema_catalog import describe_schema

from etl.db.dialects.expressions import expressions_for
from etl.db.engine import new_engine
from etl.db.migrate import alembic_config, ensure_current, has_current_schema, migrate, schema_revision
from etl.db.tables import SCHEMA_REVISION, metadata
from etl.db.views import VIEWS
from etl.errors import DatabaseError

pytestmark = pytest.mark.empty_database

OLD = [f"{number:04}" for number in range(1, int(SCHEMA_REVISION))]
ROWS = Path(__file__).parents[1] / "data" / "revisions"
"""Rows that are possible in a revision and in none before it."""
NOW = {"hours_behind"}
"""Columns that depend on the current time."""


LAST_LAYOUT_OF_ROWS = "0006"
"""The rows of the first revisions fit each revision up to this one."""


def fill(connection, revision, *, since=OLD[0]):
    """Insert the rows of a revision and of all before it."""
    for each in OLD[OLD.index(since) : OLD.index(revision) + 1]:
        for statement in (ROWS / f"{each}.sql").read_text("utf-8").split(";\n")[:-1]:
            connection.exec_driver_sql(statement)


def make(engine, revision):
    """Create a database of a revision with the rows of all revisions up to it."""
    first = min(revision, LAST_LAYOUT_OF_ROWS)
    upgrade(engine, first)
    with engine.begin() as connection:
        fill(connection, first)
    if revision > first:
        upgrade(engine, revision)
        with engine.begin() as connection:
            fill(connection, revision, since="0007")


def upgrade(engine, revision):
    with engine.connect() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def columns_of(connection, names):
    inspector = inspect(connection)
    return {name: [each["name"] for each in inspector.get_columns(name) if each["name"] not in NOW] for name in names}


def content(connection, columns):
    """All rows of some tables or views, unordered; a replaced column is computed from its successor."""
    now = columns_of(connection, columns)
    sql, quote = expressions_for(connection.dialect.name), connection.dialect.identifier_preparer.quote
    replaced = {
        "id": "NULL",
        "created_at_utc": sql.to_utc.format(time="created_at", offset="utc_offset"),
        "updated_at": "COALESCE(updated_at, first_seen_at)",
    }

    def expression(table, name):
        if table != "billing_records" or "utc_offset" not in now[table]:
            return "NULL" if (table, name) == ("billing_records", "id") else quote(name)
        return replaced.get(name, name)

    queries = {
        table: f"SELECT {', '.join(expression(table, name) for name in names)} FROM {table}"
        for table, names in columns.items()
    }
    return {name: sorted(map(repr, connection.exec_driver_sql(query).all())) for name, query in queries.items()}


@pytest.mark.parametrize("revision", OLD)
def test_a_database_of_each_older_revision_keeps_its_rows_and_figures(database_url, revision, tmp_path):
    engine = new_engine(database_url)
    make(engine, revision)
    with engine.begin() as connection:
        tables = columns_of(connection, set(metadata.tables) & set(inspect(connection).get_table_names()))
        before = content(connection, tables)
    ensure_current(engine)
    with engine.connect() as connection:
        assert has_current_schema(connection)
        assert content(connection, tables) == before
        assert all(before.values())
        views = columns_of(connection, VIEWS)
        rows = {table: connection.execute(table.select()).mappings().all() for table in metadata.sorted_tables}
        figures = content(connection, views)
    (tmp_path / "new").mkdir()
    with fresh_database(engine.dialect.name, tmp_path / "new") as url:
        ensure_current(new := new_engine(url))
        with new.begin() as connection:
            for table, of_table in rows.items():
                if of_table:
                    connection.execute(table.insert(), [dict(row) for row in of_table])
            assert figures == content(connection, views)
    assert all(figures[view] for view in set(VIEWS) - {"freshness", "daily_channels"})
    # The next run classifies the records of an older revision by channel.
    assert bool(figures["daily_channels"]) == (revision >= "0009")


CHANGES = {"CREATE", "ALTER", "DROP", "RENAME", "INSERT", "UPDATE", "DELETE"}
"""First words of statements that change the database."""


@contextmanager
def failing_at_a_new_statement(seen: set[str], step: int):
    """Fail before the next statement that changes the database and is not in `seen`, or before the `step`-th of them.

    All of them are added to `seen`.
    """
    new = 0

    def fail(_connection, _cursor, statement, _parameters, _context, _executemany):
        nonlocal new
        if statement.split()[0] in CHANGES and statement not in seen:
            seen.add(statement)
            new += 1
            if new == step:
                raise ConnectionError(statement)

    event.listen(Engine, "before_cursor_execute", fail)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", fail)


MANY_STATEMENTS = 30
"""A creation or a migration has more of them."""


def state(engine):
    """The schema, with the rows of all tables and views."""
    with engine.connect() as connection:
        return describe_schema(connection), content(connection, columns_of(connection, VIEWS))


def is_interrupted(engine, seen, step):
    """Migrate; whether it was interrupted at a new statement."""
    with failing_at_a_new_statement(seen, step):
        try:
            ensure_current(engine)
        except ConnectionError:
            return True
    return False


def step_of(engine):
    """MariaDB commits each statement; the others roll back as a whole."""
    return 1 if engine.dialect.name == "mariadb" else 10


@pytest.mark.fault(87)
@pytest.mark.parametrize("revision", ["0001", LAST_LAYOUT_OF_ROWS])
def test_a_migration_interrupted_at_each_statement_in_turn_is_completed(database_url, revision, tmp_path):
    (tmp_path / "undisturbed").mkdir()
    with fresh_database(database_url.get_backend_name(), tmp_path / "undisturbed") as url:
        engines = [new_engine(database_url), new_engine(url)]
        for engine in engines:
            make(engine, revision)
        engine, undisturbed = engines
        with engine.connect() as connection:
            tables = columns_of(connection, set(metadata.tables) & set(inspect(connection).get_table_names()))
            before = content(connection, tables)
        seen: set[str] = set()
        while is_interrupted(engine, seen, step_of(engine)):
            pass
        ensure_current(undisturbed)
        assert state(engine) == state(undisturbed)
        with engine.connect() as connection:
            assert content(connection, tables) == before
    assert len(seen) > MANY_STATEMENTS


@pytest.mark.fault(87)
def test_a_creation_interrupted_at_any_statement_is_completed_by_the_next(database_url, tmp_path):
    undisturbed = new_engine(database_url)
    ensure_current(undisturbed)
    expected = state(undisturbed)
    for number in count(1, step_of(undisturbed)):
        (folder := tmp_path / str(number)).mkdir()
        with fresh_database(database_url.get_backend_name(), folder) as url:
            engine = new_engine(url)
            interrupted = is_interrupted(engine, set(), number)
            ensure_current(engine)
            assert state(engine) == expected, number
        if not interrupted:
            break
    assert number > MANY_STATEMENTS


def test_a_migration_that_lost_a_row_is_refused(database_url):
    engine = new_engine(database_url)
    upgrade(engine, "0006")
    with engine.begin() as connection:
        fill(connection, "0006")

    def lose(_connection, cursor, statement, _parameters, _context, _executemany):
        if "ALTER TABLE billing_records\n" in statement or statement.startswith(
            "INSERT INTO billing_records_0007_copy"
        ):
            cursor.execute(
                "DELETE FROM billing_records_0007_copy" if "copy" in statement else "DELETE FROM billing_records"
            )

    event.listen(Engine, "after_cursor_execute", lose)
    try:
        with pytest.raises(RuntimeError, match="rows, current rows, records, spend"):
            ensure_current(engine)
    finally:
        event.remove(Engine, "after_cursor_execute", lose)
    ensure_current(engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM billing_records").scalar() == 4


def test_a_downgrade_restores_the_older_revision_with_its_rows(database_url):
    engine = new_engine(database_url)
    upgrade(engine, "0006")
    with engine.begin() as connection:
        fill(connection, "0006")
        tables = columns_of(connection, ["billing_records", "synced_days", "sync_state", "restatements"])
        before = content(connection, tables)
    ensure_current(engine)
    with engine.connect() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0006")
    with engine.connect() as connection:
        columns = columns_of(connection, tables)
        assert {table: sorted(names) for table, names in columns.items()} == {
            table: sorted(names) for table, names in tables.items()
        }
        assert content(connection, tables) == before


def test_a_purge_interrupted_before_the_migration_is_completed_by_it(database_url):
    engine = new_engine(database_url)
    upgrade(engine, "0006")
    with engine.begin() as connection:
        fill(connection, "0006")
        for number, (status, withdrawn) in enumerate([(1, "NULL"), (0, "NULL"), (1, "'2026-02-02 05:00:00'")], 20):
            connection.exec_driver_sql(
                "INSERT INTO billing_records (id, account_id, created_at, phone, code_auth, ordinal, status,"
                f" status_info, price, repeats, created_at_utc, first_seen_at, updated_at, withdrawn_at)"
                f" VALUES ({number}, 2, '2026-02-01 10:00:00', '+79243555100', '0371', {number}, {status}, 'ok',"
                f" '0.350000', 2, '2026-02-01 00:00:00', '2026-02-02 05:00:00', '2026-02-02 05:00:00', {withdrawn})"
            )
    ensure_current(engine)
    with engine.connect() as connection:
        query = "SELECT records, delivered, spend FROM monthly_spend WHERE account = 'bank'"
        records, delivered, spend = connection.exec_driver_sql(query).one()
        assert (records, delivered, Decimal(str(spend))) == (5, 2, Decimal("2.9")), "1.5 were purged before"
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM billing_records WHERE account_id = 2").scalar() == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_ids_continue_after_those_that_other_tables_name(database_url):
    engine = new_engine(database_url)
    make(engine, "0010")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE sync_state SET fence = 90 WHERE account_id = 2")
    ensure_current(engine)
    with engine.connect() as connection:
        last = dict(connection.exec_driver_sql("SELECT name, seq FROM sqlite_sequence").all())
        stored = {table: connection.exec_driver_sql(f"SELECT MAX(id) FROM {table}").scalar() for table in last}
    assert last == stored | {"sync_runs": 90, "restatements": 70}
    assert len(last) == 5


@pytest.mark.parametrize("database_url", ["sqlite", "mariadb"], indirect=True)
@pytest.mark.parametrize("revision", ["0006", "0010"])
def test_a_migration_keeps_views_of_others_on_our_tables_and_views(database_url, revision):
    engine = new_engine(database_url)
    make(engine, revision)
    queries = {
        "own_days": "SELECT day, records FROM synced_days",
        "own_records": "SELECT phone, price FROM billing_records",
        "own_runs": "SELECT id, command FROM sync_runs",
        "own_own": "SELECT phone FROM own_records",
        "own_accounts": "SELECT account, last_synced_date FROM freshness",
    }
    with engine.begin() as connection:
        # A view of ours as an older version made it.
        connection.exec_driver_sql(
            "CREATE VIEW freshness AS SELECT a.label AS account, s.last_synced_date, NULL AS last_success_at,"
            " 0 AS hours_behind, 0 AS open_days, 0 AS suspect_days"
            " FROM accounts a LEFT JOIN sync_state s ON s.account_id = a.id"
        )
        for name, query in queries.items():
            connection.exec_driver_sql(f"CREATE VIEW {name} AS {query}")
    ensure_current(engine)
    with engine.connect() as connection:
        assert has_current_schema(connection)
        for name, query in queries.items():
            rows = [
                sorted(map(repr, connection.exec_driver_sql(each).all())) for each in (f"SELECT * FROM {name}", query)
            ]
            assert rows[0] == rows[1] != [], name


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_migration_names_the_views_of_others_on_postgresql_and_changes_nothing(database_url):
    engine = new_engine(database_url)
    make(engine, "0006")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE VIEW own_prices AS SELECT price, created_at FROM billing_records")
        connection.exec_driver_sql("CREATE MATERIALIZED VIEW own_phones AS SELECT phone FROM billing_records")
    with pytest.raises(DatabaseError, match="added to them: materialized view own_phones; nothing was changed"):
        ensure_current(engine)
    with engine.begin() as connection:
        assert schema_revision(connection) == "0006"
        connection.exec_driver_sql("DROP MATERIALIZED VIEW own_phones")
    ensure_current(engine)
    with engine.begin() as connection:
        assert len(connection.exec_driver_sql("SELECT * FROM own_prices").all()) == 4
        connection.exec_driver_sql("CREATE VIEW own_days AS SELECT day FROM daily_spend")
        before = describe_schema(connection)
    with pytest.raises(DatabaseError, match=r"added to them: view own_days; .* run billing-etl migrate,"):
        migrate(engine)
    with engine.connect() as connection:
        assert describe_schema(connection) == before


def test_a_migration_names_triggers_and_indexes_of_others_that_would_be_lost(database_url):
    engine = new_engine(database_url)
    make(engine, "0006")
    backend = engine.dialect.name
    table = "billing_records"
    trigger = {
        "sqlite": f"CREATE TRIGGER own AFTER INSERT ON {table} BEGIN SELECT 1; END",
        "mariadb": f"CREATE TRIGGER own BEFORE INSERT ON {table} FOR EACH ROW SET @own = 1",
        "postgresql": f"CREATE TRIGGER own BEFORE UPDATE OF phone ON {table}"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    }[backend]
    objects = {f"trigger own on (table )?{table}": (trigger, "DROP TRIGGER own")}
    if backend == "postgresql":
        objects = {name: (create, f"{drop} ON {table}") for name, (create, drop) in objects.items()}
    else:
        drop = "DROP INDEX own" if backend == "sqlite" else f"DROP INDEX own ON {table}"
        objects[f"index own on {table}"] = (f"CREATE INDEX own ON {table} (price)", drop)
    for name, (create, drop) in objects.items():
        with engine.begin() as connection:
            connection.exec_driver_sql(create)
            before = describe_schema(connection)
        with pytest.raises(DatabaseError, match=f"added to them: {name}; nothing was changed"):
            ensure_current(engine)
        with engine.begin() as connection:
            assert describe_schema(connection) == before
            connection.exec_driver_sql(drop)
    ensure_current(engine)
