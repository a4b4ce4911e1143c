"""Files that the program writes, reads or warns about: databases, exports, `.env`, files with secrets."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support.permissions import as_user
from support.secret_leaks import TOKEN

SPAN = ("--until", "2025-03-10")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_databases_and_exports_are_private_to_their_owner(synced):
    exports = ("export --out x.csv", "export --out x.parquet", "export --out x.csv.gz", "export --out x.xlsx")
    for command in (*exports, "report --out x.html", "backup --out x.db"):
        done = synced(*command.split())
        assert done.code == 0, done
    names = ("billing.db", "x.csv", "x.parquet", "x.csv.gz", "x.xlsx", "x.html", "x.db")
    assert {name: mode_of(synced.folder / name) for name in names} == dict.fromkeys(names, 0o600)


def test_a_replaced_file_keeps_its_mode(synced):
    file = synced.folder / "x.csv"
    file.touch()
    file.chmod(0o640)
    assert synced("export", "--out", "x.csv").code == 0
    assert mode_of(file) == 0o640


@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "journal"),
    [(0o444, 0o555, "wal"), (0o644, 0o555, "wal"), (0o444, 0o755, "wal"), (0o444, 0o555, "delete")],
)
def test_a_read_only_database_can_be_read(synced, tmp_path, file_mode, folder_mode, journal):
    import sqlite3

    database = synced.folder / "billing.db"
    with sqlite3.connect(database) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
    connection.close()
    for lock in synced.folder.glob("*.lock"):
        lock.unlink()
    database.chmod(file_mode)
    synced.folder.chmod(folder_mode)
    outcomes = {}
    commands = ("status", f"export --out {tmp_path}/x.csv", f"report --out {tmp_path}/x.html",
                f"backup --out {tmp_path}/x.db")  # fmt: skip
    for command in (*commands, "sync"):
        done = subprocess.run(
            as_user([sys.executable, "-m", "etl", *command.split(), *(SPAN if command == "sync" else ())]),
            cwd=synced.folder, env=synced.variables, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        outcomes[command] = (done.returncode, done.stderr)
    names = sorted(path.name for path in synced.folder.iterdir())
    synced.folder.chmod(0o755)
    assert outcomes.pop("sync")[0] == 74
    assert {command: code for command, (code, _) in outcomes.items()} == dict.fromkeys(commands, 0), outcomes
    assert [name for name in names if not name.endswith(".lock")] == ["billing.db"]
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 31


@pytest.mark.parametrize("command", ["sync", "check", "status", "migrate", "export --out x.csv", "account list"])
def test_a_folder_without_access_is_named(billing, tmp_path, command):
    closed = tmp_path / "closed"
    (closed / "within").mkdir(parents=True)
    closed.chmod(0o000)
    done = subprocess.run(
        as_user([sys.executable, "-m", "etl", *command.split()]),
        cwd=billing.folder, env=billing.variables | {"BILLING_DATABASE_URL": f"sqlite:///{closed}/within/billing.db"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    closed.chmod(0o700)
    assert done.returncode == 74, done
    assert (
        f"this user may not open files in {closed}; give it to the user of the nightly job" in done.stdout + done.stderr
    )


def test_a_write_ahead_log_is_read_without_write_access(synced):
    """A killed process leaves a write-ahead log; a user without write access reads its rows."""
    import sqlite3

    database = synced.folder / "billing.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE accounts SET label = 'from the log'")
    assert (synced.folder / "billing.db-wal").exists(), "the connection is still open"
    database.chmod(0o444)
    synced.folder.chmod(0o555)
    done = subprocess.run(
        as_user([sys.executable, "-m", "etl", "account", "list"]),
        cwd=synced.folder, env=synced.variables, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    synced.folder.chmod(0o755)
    connection.close()
    assert (done.returncode, "from the log" in done.stdout) == (0, True), done


@pytest.mark.parametrize("source", [".env", "billing.toml"])
def test_a_settings_file_with_a_secret_readable_by_others_causes_a_warning(billing, source):
    file = billing.folder / source
    text = {".env": f"BILLING_API_TOKEN={TOKEN}\n", "billing.toml": f'api_token = "{TOKEN}"\n'}[source]
    file.write_text(text)
    file.chmod(0o640)
    billing.variables["BILLING_API_TOKEN"] = ""
    warning = f"BILLING_API_TOKEN: others may read or change {source}; run: chmod 600 {source}"
    option = () if source == ".env" else ("--config", source)
    assert f"WARNING: {warning}\n" in billing(*option, "sync", *SPAN).errors
    done = billing(*option, "check")
    assert done.code == 0, done
    assert f"! settings: {warning}\n" in done.out
    file.chmod(0o600)
    assert "others may read" not in billing(*option, "sync", *SPAN).errors


def test_a_settings_file_without_a_secret_may_be_readable_by_others(billing):
    file = billing.folder / ".env"
    file.write_text("BILLING_DATABASE_URL=sqlite:///billing.db\nBILLING_WINDOW_DAYS=3\n")
    file.chmod(0o644)
    assert "others may" not in billing("sync", *SPAN).errors
    file.write_text("BILLING_DATABASE_URL=postgresql://u:correct-horse-battery@127.0.0.1:1/b\n")
    assert "BILLING_DATABASE_URL: others may read or change .env" in billing("sync", *SPAN).errors


def test_the_ignored_one_of_a_secret_and_its_file_is_named(billing):
    file = billing.folder / "token"
    file.write_text("another token")
    file.chmod(0o600)
    warning = "BILLING_API_TOKEN_FILE is ignored: BILLING_API_TOKEN is set as well"
    done = billing("sync", *SPAN, BILLING_API_TOKEN_FILE="token")
    assert (done.code, f"WARNING: {warning}\n" in done.errors) == (0, True), done
    assert f"! settings: {warning}\n" in billing("check", BILLING_API_TOKEN_FILE="token").out
    (billing.folder / ".env").write_text("BILLING_API_TOKEN_FILE=token\n")
    done = billing("sync", *SPAN)
    assert (done.code, "BILLING_API_TOKEN_FILE in .env is ignored: BILLING_API_TOKEN is set" in done.errors) == (
        0,
        True,
    )


def test_check_marks_warnings_with_their_own_sign(synced):
    assert "✓ file: billing.db has mode 0600\n" in synced("check").out
    (synced.folder / "billing.db").chmod(0o644)
    done = synced("check")
    assert done.code == 0, done
    assert "! file: all users may read billing.db; run: chmod o-rwx billing.db\n" in done.out
    assert done.out.count("! ") == 1


@pytest.mark.skipif(os.name != "posix", reason="these are permissions of POSIX")
@pytest.mark.parametrize("name", ["billing.db", "billing.db-wal", "link.db", "billing.db-account-default.lock"])
def test_no_output_replaces_a_file_of_the_database(synced, name):
    (synced.folder / "link.db").symlink_to("billing.db")
    before = (synced.folder / "billing.db").read_bytes()
    for done in (
        synced("backup", "--out", name),
        synced("sync", "--metrics-file", name),
        synced("sync", BILLING_METRICS_FILE=name),
    ):
        assert (done.code, f"{name!r} is a file of the database" in done.errors) == (78, True), done
    assert (synced.folder / "billing.db").read_bytes() == before
    assert synced("backup", "--out", "billing.db-2025").code == 0


def test_check_includes_the_write_ahead_log(synced):
    database = synced.folder / "billing.db"
    for suffix in ("-wal", "-shm"):
        file = Path(f"{database}{suffix}")
        file.touch()
        file.chmod(0o644)
    assert "! file: all users may read billing.db-wal, billing.db-shm; run: chmod o-rwx" in synced("check").out.replace(
        f"{synced.folder}/", ""
    )
