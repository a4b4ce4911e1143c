"""`billing-etl` as a process that is struck by a signal at a point of its own choosing.

The points are found from outside: SQLAlchemy tells of transactions and statements, requests of the vendor's calls, the
interpreter of files that SQLite opens. Nothing in `etl` knows of it.
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
"""What the names of points begin with that the fork reaches."""
BATCH = 16
"""Rows handed over at once, so that a small day has several batches."""


class Struck(NamedTuple):
    """How a process ended: `code` is minus the signal's number if one killed it."""

    code: int
    output: str
    points: list[str]
    seconds: float


def strike(
    arguments: Sequence[str],
    variables: Mapping[str, str],
    *,
    number: int = 0,
    point: str | None = None,
    fork: bool = False,
    after: float | None = None,
) -> Struck:
    """Run a command line, and send it a signal.

    Args:
        arguments: Of the command line.
        variables: Its whole environment.
        number: The signal.
        point: Where it strikes itself, or its fork strikes it: one of `points`.
        fork: The fork strikes itself, not its parent.
        after: Or seconds after its start, if it still runs then.
    """
    with tempfile.TemporaryDirectory(prefix="victim-") as folder:
        output, trace = Path(folder) / "output", Path(folder) / "trace"
        begun = time.monotonic()
        process = SERVER.Process(
            target=_run, args=(list(arguments), dict(variables), output, trace, point, number, fork)
        )
        process.start()
        process.join(after)
        if after is not None and process.pid is not None:
            with suppress(ProcessLookupError):  # it ended by itself
                os.kill(process.pid, number)
        process.join(120)
        seconds = time.monotonic() - begun
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"it did not end: {point}")
        told = trace.read_text("utf-8").splitlines() if trace.exists() else []
        return Struck(process.exitcode, output.read_text("utf-8") if output.exists() else "", told, seconds)


def _run(
    arguments: list[str],
    variables: dict[str, str],
    output: Path,
    trace: Path,
    point: str | None,
    number: int,
    fork: bool,
) -> None:
    set_up(variables, output, output)
    from etl.cli import main

    points = _Points(os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND), point, number, fork)
    points.watch()
    code = exit_code_of(main, arguments)
    points.reach("end")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class _Points:
    """Notes each point reached, and strikes at one of them."""

    def __init__(self, channel: int, target: str | None, number: int, fork: bool) -> None:
        self.channel, self.target, self.number, self.fork = channel, target, number, fork
        self.process = os.getpid()
        self.reached: Counter[str] = Counter()

    def reach(self, name: str) -> None:
        if os.getpid() != self.process:
            name = f"{FORK}{name}"
        self.reached[name] += 1
        point = f"{name} #{self.reached[name]}"
        os.write(self.channel, f"{point}\n".encode())
        if point == self.target:
            os.kill(os.getpid() if self.fork else self.process, self.number)

    def watch(self) -> None:
        import psycopg
        import requests
        from sqlalchemy import Engine, Pool, event
        from sqlalchemy.engine.default import DefaultDialect

        from etl.db.dialects import row_batches

        row_batches.BATCH_SIZE = BATCH

        event.listen(Engine, "begin", lambda _connection: self.reach("begin"))
        event.listen(Engine, "commit", lambda _connection: self.reach("before commit"))
        event.listen(Engine, "rollback", lambda _connection: self.reach("before rollback"))
        event.listen(Pool, "close", lambda *_: self.reach("close"))

        @event.listens_for(Engine, "before_cursor_execute")
        def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            self.reach(f"before {_name(statement)}")

        @event.listens_for(Engine, "after_cursor_execute")
        def after(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            self.reach(f"after {_name(statement)}")

        self._surround(DefaultDialect, "do_commit", None, "after commit")
        self._surround(psycopg.Copy, "write", "before batch", "after batch")
        self._surround(requests.Session, "send", "before fetch", "after fetch")
        sys.addaudithook(lambda name, _: self.reach("open file") if name == "sqlite3.connect/handle" else None)

    def _surround(self, owner: Any, name: str, before: str | None, after: str) -> None:
        inner = getattr(owner, name)

        def surrounded(*arguments: Any, **options: Any) -> Any:
            if before:
                self.reach(before)
            result = inner(*arguments, **options)
            self.reach(after)
            return result

        setattr(owner, name, surrounded)


def _name(statement: str) -> str:
    table = _TABLE.search(statement)
    return f"{statement.split(None, 1)[0].lower()} {table[1] if table else ''}".strip()
