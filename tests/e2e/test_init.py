"""`init`: the first settings are tried, written with mode 0600, and used by the next command."""

from __future__ import annotations

import json
import os
import pty
import stat
import sys
import tomllib
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import make_url
from support.secret_leaks import TOKEN

FILES = ["config.toml", "token"]


@pytest.fixture
def user(billing):
    """`billing-etl` of a user with an empty home and a file with the token, whose environment has no settings."""
    (billing.folder / "secret").write_text(f"{TOKEN}\n", "utf-8")
    kept = {"BILLING_API_URL"}
    variables = {name: value for name, value in billing.variables.items() if name[:8] != "BILLING_" or name in kept}
    billing.variables = variables | {"HOME": str(billing.folder / "home")}
    return billing


def settings_folder(user):
    return user.folder / "home" / ".config" / "billing-etl"


def test_init_writes_settings_for_the_next_command(user):
    done = user("init", "--token-file", "secret", "--start", "2025-03-01", "--account", "shop")
    assert done.code == 0, done
    folder = settings_folder(user)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    settings = tomllib.loads((folder / "config.toml").read_text("utf-8"))
    assert make_url(settings.pop("database_url")).database == str(user.folder / "billing.db")
    assert settings == {
        "api_token_file": str(folder / "token"),
        "account": "shop",
        "api_url": user.variables["BILLING_API_URL"],
        "start_date": date(2025, 3, 1),
    }
    for line in ("17 3 * * * ", "OnCalendar=*-*-* 03:17", " -q sync"):
        assert line in done.out
    done = user("sync", "--until", "2025-03-10", BILLING_API_URL=None)
    assert (done.code, "shop: 10 days" in done.out) == (0, True), done


def test_init_overwrites_nothing_unless_forced(user):
    assert user("init", "--token-file", "secret").code == 0
    before = (settings_folder(user) / "config.toml").read_bytes()
    done = user("init", "--token-file", "secret", "--start", "2025-03-01")
    assert (done.code, "--force" in done.errors) == (2, True)
    assert (settings_folder(user) / "config.toml").read_bytes() == before
    assert user("init", "--token-file", "secret", "--start", "2025-03-01", "--force").code == 0
    assert b"2025-03-01" in (settings_folder(user) / "config.toml").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--token-file", "wrong"], 77, "nothing was written"),
        (["--token-file", "secret", "--database", "sqlite:///nowhere/b.db"], 74, "nothing was written"),
        (["--token-file", "secret", "--database", "postgresql://u:hunter2@h/d"], 2, "--database-file"),
        (["--token-file", "secret", "--database", "oracle://h/d"], 78, "BILLING_DATABASE_URL"),
        (["--token-file", "missing"], 78, "--token-file: missing cannot be read"),
        (["--token-file", "secret", "--start", "2999-01-01"], 2, "future"),
        ([], 2, "--token-file"),
    ],
)
def test_init_writes_no_settings_that_fail_their_check(user, arguments, code, word):
    (user.folder / "wrong").write_text("00000000-1111-4000-8000-000000000000", "utf-8")
    done = user("init", *arguments)
    assert (done.code, word in done.errors, settings_folder(user).exists()) == (code, True, False), done
    assert "hunter2" not in done.out + done.errors


def test_init_writes_a_database_url_with_a_password_to_a_separate_file(user):
    (user.folder / "url").write_text("sqlite:///b.db?password=hunter2", "utf-8")
    done = user("init", "--token-file", "secret", "--database-file", "url", "--json")
    assert "hunter2" not in done.out + done.errors
    assert {"files", "checks", "exit_code"} == json.loads(done.out).keys()


def test_init_prompts_on_a_terminal(user):
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(user.folder)
        os.execve(sys.executable, [sys.executable, "-m", "etl", "init"], user.environment({}))
    shown = b""
    answers = [TOKEN.encode(), b"", b"2025-03-02"]
    while True:
        try:
            chunk = os.read(terminal, 1 << 16)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
        if answers and shown.rstrip(b" ").endswith(b":"):
            os.write(terminal, answers.pop(0) + b"\n")
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert (os.waitstatus_to_exitcode(status), answers) == (0, []), shown.decode()
    assert TOKEN.encode() not in shown
    assert "start_date = 2025-03-02" in (settings_folder(user) / "config.toml").read_text("utf-8")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which not even root may write")
def test_demo_reports_a_folder_that_cannot_be_written(user):
    user.folder = Path("/proc")
    done = user("demo")
    assert (done.code, done.out, "run it in another folder" in done.errors) == (74, "", True), done
