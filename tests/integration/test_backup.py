"""A backup is complete, consistent and checked, also under concurrent writes."""

from __future__ import annotations

import sqlite3
import stat
import threading
from contextlib import closing
from datetime import date

import pytest
from conftest import SERVERS
from support.sync_account import Account, charges

from etl.config.database_url import parse_url
from etl.db.engine import new_engine
from etl.db.tables import SCHEMA_REVISION
from etl.errors import ConfigError, DatabaseError
from etl.services.backup import backup_database


@pytest.fixture
def account(sqlite_url, sandbox):
    sandbox.dataset.replace(record for day in range(8, 12) for record in charges(date(2026, 3, day), 3))
    made = Account(sqlite_url, sandbox)
    assert made.run() == (0, "")
    return made


def test_a_backup_is_a_database_that_continues_from_its_watermark(account, tmp_path):
    (tmp_path / "billing.db").chmod(0o640)
    done = backup_database(account.engine, tmp_path / "copy.db")
    assert (done.revision, done.size_bytes) == (SCHEMA_REVISION, (tmp_path / "copy.db").stat().st_size)
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o640
    assert not list(tmp_path.glob("copy.db-*"))
    restored = Account(parse_url(f"sqlite:///{tmp_path / 'copy.db'}"), account.vendor)
    assert restored.dump() == account.dump()
    assert restored.run() == (0, "")
    restored.assert_matches_vendor()


def test_a_backup_under_load_is_consistent(account, tmp_path):
    path = tmp_path / "billing.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE pairs (one INTEGER, other INTEGER, filling BLOB)")
        connection.executemany("INSERT INTO pairs VALUES (0, 0, zeroblob(10000))", [()] * 4000)
        connection.commit()
    written, stop = threading.Event(), threading.Event()

    def write():
        with closing(sqlite3.connect(path, timeout=30)) as writer:
            number = 0
            while not stop.is_set():
                number += 1
                writer.execute("UPDATE pairs SET one = ?", (number,))
                writer.execute("UPDATE pairs SET other = ?", (number,))
                writer.commit()
                written.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert written.wait(60)
        backup_database(account.engine, tmp_path / "copy.db")
    finally:
        stop.set()
        thread.join()
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        ((one, other),) = copy.execute("SELECT DISTINCT one, other FROM pairs")
    assert one == other > 0


def test_a_damaged_database_is_reported_and_the_older_backup_kept(account, tmp_path):
    backup_database(account.engine, tmp_path / "copy.db")
    older = (tmp_path / "copy.db").read_bytes()
    account.engine.dispose()  # the last connection moves the write-ahead log into the file
    with (tmp_path / "billing.db").open("r+b") as file:
        file.seek(5 * 16384)
        file.write(b"\xff" * 3 * 16384)
    with pytest.raises(DatabaseError, match="damaged"):
        backup_database(account.engine, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_bytes() == older
    assert not list(tmp_path.glob(".billing-etl-*"))


@pytest.mark.parametrize("to", ["billing.db", "nowhere/copy.db", "."])
def test_backup_refuses_a_target_that_cannot_be_written(account, tmp_path, to):
    before = (tmp_path / "billing.db").read_bytes()
    with pytest.raises(ConfigError, match="--out"):
        backup_database(account.engine, tmp_path / to)
    assert (tmp_path / "billing.db").read_bytes() == before


def test_backup_creates_no_file_without_a_database(sqlite_url, tmp_path):
    with pytest.raises(DatabaseError, match="no database yet"):
        backup_database(new_engine(sqlite_url), tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("backend", "tool"), [("postgresql", "pg_dump"), ("mariadb", "mariadb-dump")])
def test_backup_of_a_server_names_the_servers_tool(backend, tool, tmp_path):
    with pytest.raises(ConfigError, match=tool):
        backup_database(new_engine(parse_url(SERVERS[backend])), tmp_path / "copy.db")
