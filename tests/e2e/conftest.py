"""The command line as users run it: in its own process, in an empty folder, with its own environment.

The vendor is the sandbox over HTTP with days of 2025, all of which are over.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from support.forked_cli import PATIENCE, Ended, run_forked
from support.secret_leaks import TOKEN, leaks
from support.sync_account import charges

from etl.sandbox import Dataset, Sandbox

FIRST, LAST = "2025-03-01", "2025-03-10"


class Command:
    """The command line in one folder. All output is searched for the token."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder = folder
        self.variables = variables
        self.started: list[subprocess.Popen[str]] = []

    def __call__(self, *arguments: str, **changes: str | None) -> Ended:
        """Run a command to its end in a fork; a change of None removes a variable."""
        if any(name.startswith("PYTHON") for name in changes):
            return self.interpret(*arguments, **changes)
        return self.checked(run_forked(arguments, self.environment(changes), self.folder))

    def interpret(self, *arguments: str, **changes: str | None) -> Ended:
        """Run `python -m etl` to its end in a new interpreter."""
        return self.finish(self.start(*arguments, **changes))

    def start(self, *arguments: str, **changes: str | None) -> subprocess.Popen[str]:
        """Start `python -m etl` without waiting for its end."""
        process = subprocess.Popen(
            [sys.executable, "-m", "etl", *arguments],
            cwd=self.folder,
            env=self.environment(changes),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen[str]) -> Ended:
        """Wait for the end of a process."""
        out, errors = process.communicate(timeout=PATIENCE)
        return self.checked(Ended(process.returncode, out, errors))

    def environment(self, changes: Mapping[str, str | None]) -> dict[str, str]:
        """The environment of a command."""
        return {name: value for name, value in (self.variables | changes).items() if value is not None}

    def checked(self, ended: Ended) -> Ended:
        """Check that the output of a command does not contain the token; returns the result."""
        assert leaks(ended.out + ended.errors, [TOKEN]) == []
        return ended

    def files(self) -> list[str]:
        """The names of the files in its folder."""
        return sorted(path.name for path in self.folder.iterdir())


def open_vendor() -> Sandbox:
    """The vendor, with three records on each of ten days."""
    dataset = Dataset(seed=1, today=date(2025, 3, 10), days=1)
    dataset.replace(record for day in range(1, 11) for record in charges(f"2025-03-{day:02}", 3))
    return Sandbox(port=0, token=TOKEN, dataset=dataset)


@pytest.fixture
def vendor() -> Iterator[Sandbox]:
    """The vendor with its initial records."""
    with open_vendor() as sandbox:
        yield sandbox


@pytest.fixture
def records_on() -> Callable[..., list[dict[str, Any]]]:
    """Makes records of a day: `records_on(day, count, price)`."""
    return charges


def command_in(parent: Path, vendor: Sandbox) -> Command:
    """The command line in an empty folder whose name has spaces and Cyrillic letters, set up for the vendor."""
    folder = parent / "папка with spaces"
    folder.mkdir()
    temporary = parent / "tmp"
    temporary.mkdir()
    inherited = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ}
    variables = inherited | {
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(temporary),
        "BILLING_API_TOKEN": TOKEN,
        "BILLING_API_URL": vendor.url,
        "BILLING_START_DATE": FIRST,
        "BILLING_RETRY_ATTEMPTS": "2",
        "BILLING_RETRY_MAX_WAIT": "0",
        "BILLING_DATABASE_WAIT": "0",
    }
    return Command(folder, variables)


@pytest.fixture
def billing(tmp_path: Path, vendor: Sandbox) -> Iterator[Command]:
    """`billing-etl` before its first sync."""
    command = command_in(tmp_path, vendor)
    yield command
    for process in command.started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="session")
def first_sync(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files after a first sync of the vendor's ten days, by name."""
    with open_vendor() as vendor:
        command = command_in(tmp_path_factory.mktemp("first"), vendor)
        done = command("sync", "--until", LAST)
    assert done.code == 0, done
    return {name: (command.folder / name).read_bytes() for name in command.files()}


@pytest.fixture
def synced(billing: Command, first_sync: dict[str, bytes]) -> Command:
    """`billing-etl` after its first sync."""
    for name, content in first_sync.items():
        (billing.folder / name).write_bytes(content)
        (billing.folder / name).chmod(0o600)
    return billing


@pytest.fixture
def wait_for_request(vendor: Sandbox) -> Callable[..., None]:
    """Waits until a program has sent the vendor a number of requests."""

    def wait(process: subprocess.Popen[str], requests: int = 1) -> None:
        while len(vendor.requests) < requests:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)

    return wait
