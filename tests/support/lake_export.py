"""Exports two accounts to a lake in a process of its own: `python -m support.lake_export DATABASE FOLDER`.

With the vendor's URL as the third argument it syncs the accounts first.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import URL

from etl.config.database_url import parse_url
from etl.errors import ConcurrentRunError
from etl.sandbox import Sandbox
from etl.services.lake import export_to_lake
from etl.services.run import RunRequest
from etl.services.sync import run_sync
from support.lake_copy import FIRST, LABELS
from support.rival_files import variables_of
from support.run_helpers import NO_PROGRESS, settings_of

NOON = datetime(2026, 3, 11, 9, 0, tzinfo=UTC)


def command_of(url: URL, folder: Path, *vendor: str) -> list[str]:
    """The command line of such a process."""
    address = url.render_as_string(hide_password=False)
    return [sys.executable, "-m", "support.lake_export", address, str(folder), *vendor]


def start(url: URL, folder: Path, *, rival: tuple[str, list[str]] | None = None) -> subprocess.Popen[str]:
    """Start an export; a rival is a command that runs before a file of the given kind is written."""
    variables: Mapping[str, str] = variables_of(*rival) if rival else {}
    return subprocess.Popen(
        command_of(url, folder), cwd=Path(__file__).parents[1], env=os.environ | variables,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def main(address: str, folder: str, vendor: str | None = None) -> int:
    logging.disable()  # warnings about the vendor's clock
    settings = [settings_of(parse_url(address), Sandbox(), FIRST, account=label) for label in LABELS]
    for account in settings if vendor else ():
        request = RunRequest("sync")
        here = replace(account, api_url=vendor)
        done = run_sync(here, request, NO_PROGRESS, redact=str, clock=lambda: NOON)
        assert done.error is None, done.error
    try:
        result = export_to_lake(settings, (), Path(folder), None)
    except ConcurrentRunError as error:
        sys.stdout.write(f"{error}\n")
        return 75
    sys.stdout.write(f"{result.rows}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
