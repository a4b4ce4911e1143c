"""Runs `billing-etl` in a process that receives a signal at a given kill point.

Kill points are observed from outside: transactions and statements by events of SQLAlchemy, the vendor's calls by
wrapping requests, files that SQLite opens by an audit hook. Nothing in `etl` supports this.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from support.forked_cli import SERVER, exit_code_of, set_up

_TABLE = re.compile(r"(?:INTO|UPDATE|FROM|TABLE|VIEW)\s+(?:IF (?:NOT )?EXISTS\s+)?[\"`]?(\w+)", re.IGNORECASE)
FORK = "fork: "
"""Prefix of the kill points that are reached in a forked process."""
BATCH = 16
"""Rows per batch; small, so that a small day has several batches."""


class ProcessResult(NamedTuple):
    """The result of a process; `code` is the negative signal number if a signal killed it."""

    code: int
    output: str
    points: list[str]
    seconds: float


def run_and_kill(
    arguments: Sequence[str],
    variables: Mapping[str, str],
    *,
    signum: int = 0,
    point: str | None = None,
    fork: bool = False,
    after: float | None = None,
) -> ProcessResult:
    """Run a command line and send it a signal.

    Args:
        arguments: The command line, without the program.
        variables: The whole environment.
        signum: The signal.
        point: The kill point at which the process gets the signal, one of `ProcessResult.points`.
        fork: The fork that reached the point gets the signal, not its parent.
        after: Instead of a point: seconds after the start.
    """
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        output, trace = Path(folder) / "output", Path(folder) / "trace"
        started = time.monotonic()
        process = SERVER.Process(
            target=_run, args=(list(arguments), dict(variables), output, trace, point, signum, fork)
        )
        process.start()
        process.join(after)
        if after is not None and process.pid is not None:
            with suppress(ProcessLookupError):  # it has ended
                os.kill(process.pid, signum)
        process.join(120)
        seconds = time.monotonic() - started
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"the process did not end: {point}")
        points = trace.read_text("utf-8").splitlines() if trace.exists() else []
        return ProcessResult(process.exitcode, output.read_text("utf-8") if output.exists() else "", points, seconds)


def _run(
    arguments: list[str],
    variables: dict[str, str],
    output: Path,
    trace: Path,
    point: str | None,
    signum: int,
    fork: bool,
) -> None:
    set_up(variables, output, output)
    from etl.cli import main

    points = _KillPoints(os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND), point, signum, fork)
    points.watch()
    code = exit_code_of(main, arguments)
    points.hit("end")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class _KillPoints:
    """Records each kill point reached, and sends the signal at one of them."""

    def __init__(self, channel: int, target: str | None, signum: int, fork: bool) -> None:
        self.channel, self.target, self.signum, self.fork = channel, target, signum, fork
        self.process = os.getpid()
        self.hits: Counter[str] = Counter()

    def hit(self, name: str) -> None:
        if os.getpid() != self.process:
            name = f"{FORK}{name}"
        self.hits[name] += 1
        point = f"{name} #{self.hits[name]}"
        os.write(self.channel, f"{point}\n".encode())
        if point == self.target:
            os.kill(os.getpid() if self.fork else self.process, self.signum)

    def watch(self) -> None:
        import psycopg
        import requests
        from sqlalchemy import Engine, Pool, event
        from sqlalchemy.engine.default import DefaultDialect

        from etl.db.dialects import row_batches

        row_batches.BATCH_SIZE = BATCH

        event.listen(Engine, "begin", lambda _connection: self.hit("begin"))
        event.listen(Engine, "commit", lambda _connection: self.hit("before commit"))
        event.listen(Engine, "rollback", lambda _connection: self.hit("before rollback"))
        event.listen(Pool, "close", lambda *_: self.hit("close"))

        @event.listens_for(Engine, "before_cursor_execute")
        def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            self.hit(f"before {_name(statement)}")

        @event.listens_for(Engine, "after_cursor_execute")
        def after(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            self.hit(f"after {_name(statement)}")

        self._wrap(DefaultDialect, "do_commit", None, "after commit")
        self._wrap(psycopg.Copy, "write", "before batch", "after batch")
        self._wrap(requests.Session, "send", "before fetch", "after fetch")
        sys.addaudithook(lambda name, _: self.hit("open file") if name == "sqlite3.connect/handle" else None)

    def _wrap(self, owner: Any, name: str, before: str | None, after: str) -> None:
        inner = getattr(owner, name)

        def wrapper(*arguments: Any, **options: Any) -> Any:
            if before:
                self.hit(before)
            result = inner(*arguments, **options)
            self.hit(after)
            return result

        setattr(owner, name, wrapper)


def _name(statement: str) -> str:
    table = _TABLE.search(statement)
    return f"{statement.split(None, 1)[0].lower()} {table[1] if table else ''}".strip()
