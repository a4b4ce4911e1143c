"""Tables on a terminal are neither truncated nor wider than the screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from datetime import date
from decimal import Decimal

import pytest

from etl.cli.tables import print_rows

COMMANDS = ["status", "runs", "runs 1", "recent 3", "balance", "config show", "account list", "verify"]


def screen(command, arguments, columns):
    """The output of a command on a terminal with this many columns, without colours."""
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        os.chdir(command.folder)
        os.execve(sys.executable, [sys.executable, "-m", "etl", *arguments], command.environment({"TERM": "xterm"}))
    shown = b""
    while True:
        try:
            chunk = os.read(terminal, 1 << 16)
        except OSError:  # Linux: the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.waitpid(child, 0)
    os.close(terminal)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [80, 120])
def test_tables_are_readable_on_a_terminal(synced, vendor, records_on, columns):
    vendor.dataset.add(records_on("2025-03-09", 40))
    vendor.dataset.remove(records_on("2025-03-08", 1))
    for arguments in COMMANDS:
        shown = screen(synced, arguments.split(), columns)
        assert "…" not in shown, shown
        assert "Traceback" not in shown
        rows = [line for line in shown.splitlines() if re.search(r"\S {2,}\S|──", line)]
        assert rows
        assert max(map(len, rows)) <= columns, shown


def test_a_table_that_does_not_fit_is_shown_row_by_row(capsys):
    names = ("#id", "day", "~reason", *(f"#column {number}" for number in range(12)))
    print_rows("Wide", names, [(7, date(2026, 3, 11), "no price", *[Decimal("1234567.000001")] * 12)])
    out = capsys.readouterr().out
    assert re.search(r"^id +7 *$", out, re.MULTILINE)
    assert out.count("1234567.000001") == 12
    assert max(map(len, out.splitlines())) <= 120
