"""The command line in a forked process, which has the isolation of a new one and spares the imports.

A fork server imports the program once. Each command then runs in a fork of it, with its own environment, current
folder, standard streams, signal handlers and exit code. Only what an interpreter does when it starts differs: it has
read `PYTHON…` variables and the search path by then.
"""

from __future__ import annotations

import os
import pkgutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import etl.services

SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "etl.cli",
        *(f"etl.services.{module.name}" for module in pkgutil.iter_modules(etl.services.__path__)),
        *("etl.checks.runner", "etl.ops.metrics", "etl.ops.status_query", "etl.reports.export"),
        *("etl.extract.csv_parser", "etl.sandbox"),
        *("alembic.command", "psycopg", "pymysql", "sqlite3", "sqlalchemy.dialects.sqlite"),
        *("rich.progress", "rich.table", "pythonjsonlogger.json", "prometheus_client"),
    ]
)
PATIENCE = 120
"""Seconds after which a command that has not ended is a failure."""


class Ended(NamedTuple):
    """How a command ended: `code` is minus the number of the signal that killed it."""

    code: int
    out: str
    errors: str


def run_forked(arguments: Sequence[str], variables: Mapping[str, str], folder: Path) -> Ended:
    """Run a command line to its end.

    Args:
        arguments: Of the command line, without the program.
        variables: Its whole environment.
        folder: Its current folder.

    Raises:
        TimeoutError: It did not end.
    """
    with tempfile.TemporaryDirectory(prefix="forked-") as streams:
        out, errors = Path(streams) / "out", Path(streams) / "errors"
        process = SERVER.Process(target=_run, args=(list(arguments), dict(variables), folder, out, errors))
        process.start()
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"it did not end: {arguments}")
        ended = Ended(process.exitcode, out.read_text("utf-8"), errors.read_text("utf-8"))
        process.close()
        return ended


def _run(arguments: list[str], variables: dict[str, str], folder: Path, out: Path, errors: Path) -> None:
    os.chdir(folder)
    set_up(variables, out, errors)
    from etl.__main__ import main

    code = exit_code_of(main, arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def set_up(variables: Mapping[str, str], out: Path, errors: Path) -> None:
    """Give a fork its environment and its standard streams.

    Args:
        variables: The whole environment.
        out: File for stdout.
        errors: File for stderr; it may be the same.
    """
    os.environ.clear()
    os.environ.update(variables)
    time.tzset()
    tempfile.tempdir = None
    for number, path in ((1, out), (2, errors)):
        channel = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(channel, number)
        os.close(channel)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - until the process ends
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def exit_code_of(main: Callable[[], None], arguments: Sequence[str]) -> int:
    """Call an entry point as if the program had been started with these arguments."""
    sys.argv = ["billing-etl", *arguments]
    try:
        main()
    except SystemExit as leave:
        return int(leave.code or 0)
    return 0
