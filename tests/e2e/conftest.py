"""The command line as its users meet it: a process of its own, in an empty folder, with an environment of its own.

The vendor is the sandbox over HTTP, at its own days of 2025: all of them are over, whenever these tests run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.secret_leaks import TOKEN, leaks

from etl.sandbox import Dataset, Sandbox

FIRST, LAST = "2025-03-01", "2025-03-10"


class Done(NamedTuple):
    """How a program ended."""

    code: int
    out: str
    errors: str


class Command:
    """`python -m etl` in one folder. Whatever it prints is searched for the token."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder = folder
        self.variables = variables
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, **changes: str | None) -> subprocess.Popen[str]:
        """Start it; a change of None takes a variable away."""
        variables = {name: value for name, value in (self.variables | changes).items() if value is not None}
        process = subprocess.Popen(
            [sys.executable, "-m", "etl", *arguments],
            cwd=self.folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen[str]) -> Done:
        """Wait for it to end."""
        out, errors = process.communicate(timeout=120)
        assert leaks(out + errors, [TOKEN]) == []
        return Done(process.returncode, out, errors)

    def __call__(self, *arguments: str, **changes: str | None) -> Done:
        """Run it to its end."""
        return self.finish(self.start(*arguments, **changes))

    def files(self) -> list[str]:
        """What lies in its folder."""
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def vendor() -> Iterator[Sandbox]:
    """The vendor, with three records on each of ten days."""
    dataset = Dataset(seed=1, today=date(2025, 3, 10), days=1)
    dataset.replace(record for day in range(1, 11) for record in charges(f"2025-03-{day:02}", 3))
    with Sandbox(port=0, token=TOKEN, dataset=dataset) as sandbox:
        yield sandbox


def charges(day: str, count: int, price: str = "0.2") -> list[dict[str, Any]]:
    """Different records of one day."""
    return [
        {
            "created_at": f"{day}T10:{n // 60:02}:{n % 60:02}",
            "code_auth": "0371",
            "status": 1,
            "status_info": "ok",
            "phone": "89243555100",
            "price": Decimal(price),
        }
        for n in range(count)
    ]


@pytest.fixture
def listed() -> Callable[..., list[dict[str, Any]]]:
    """Makes records of a day."""
    return charges


@pytest.fixture
def billing(tmp_path: Path, vendor: Sandbox) -> Iterator[Command]:
    """`billing-etl` in an empty folder whose name is not plain, set up for the vendor."""
    folder = tmp_path / "папка with spaces"
    folder.mkdir()
    temporary = tmp_path / "tmp"
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
    command = Command(folder, variables)
    yield command
    for process in command.started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


@pytest.fixture
def synced(billing: Command) -> Command:
    """The same after a first sync."""
    done = billing("sync", "--until", LAST)
    assert done.code == 0, done
    return billing


@pytest.fixture
def wait_for_request(vendor: Sandbox) -> Callable[..., None]:
    """Waits until a program has asked the vendor something."""

    def wait(process: subprocess.Popen[str], requests: int = 1) -> None:
        while len(vendor.requests) < requests:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)

    return wait
