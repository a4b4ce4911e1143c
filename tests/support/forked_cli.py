"""The command line in a forked process: isolated like a new process, without the time for imports.

A fork server imports the program once. Each command then runs in a fork of it, with its own environment, current
folder, standard streams, signal handlers and exit code. The only difference is the start of the interpreter: `PYTHON…`
variables and the search path have been read before.
"""

from __future__ import annotations

import gc
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
"""Seconds until a command that has not ended counts as a failure."""


class Ended(NamedTuple):
    """The result of a command; `code` is the negative signal number if a signal killed it."""

    code: int
    out: str
    errors: str


class Forked:
    """A running command."""

    def __init__(self, arguments: Sequence[str], variables: Mapping[str, str], folder: Path) -> None:
        """Start it.

        Args:
            arguments: The command line, without the program.
            variables: The whole environment.
            folder: The current folder.
        """
        self.arguments = arguments
        self.streams = tempfile.TemporaryDirectory(prefix="forked-")
        self.out, self.errors = (Path(self.streams.name) / name for name in ("out", "errors"))
        self.process = SERVER.Process(
            target=_run, args=(list(arguments), dict(variables), folder, self.out, self.errors)
        )
        self.process.start()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process.exitcode is None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.is_running and self.process.pid is not None:
            os.kill(self.process.pid, number)

    def errors_so_far(self) -> str:
        """The output to stderr so far."""
        return self.errors.read_text("utf-8") if self.errors.exists() else ""

    def finish(self) -> Ended:
        """Wait for its end, once.

        Raises:
            TimeoutError: The command did not end in time.
        """
        self.process.join(PATIENCE)
        if self.is_running:
            self.close()
            raise TimeoutError(f"the command did not end: {self.arguments}")
        assert self.process.exitcode is not None
        ended = Ended(self.process.exitcode, self.out.read_text("utf-8"), self.errors.read_text("utf-8"))
        self.close()
        return ended

    def close(self) -> None:
        """Kill the process if it runs, and remove its output files."""
        self.process.kill()
        self.process.join()
        self.streams.cleanup()


def run_forked(arguments: Sequence[str], variables: Mapping[str, str], folder: Path) -> Ended:
    """Run a command line to its end; the arguments are those of `Forked`."""
    return Forked(arguments, variables, folder).finish()


def _run(arguments: list[str], variables: dict[str, str], folder: Path, out: Path, errors: Path) -> None:
    os.chdir(folder)
    set_up(variables, out, errors)
    from etl.__main__ import main

    code = exit_code_of(main, arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def set_up(variables: Mapping[str, str], out: Path, errors: Path) -> None:
    """Set the environment and the standard streams of a fork.

    Args:
        variables: The whole environment.
        out: File for stdout.
        errors: File for stderr; it may be the same.
    """
    gc.freeze()  # a collection that visits what the fork server has imported takes longer than most commands
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
