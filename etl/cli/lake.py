"""`export --lake`: bring a lake of Iceberg tables to the state of the databases."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from etl.cli.json_output import print_json
from etl.cli.output import OutputOptions, report_error
from etl.cli.selection import load_configured_settings
from etl.exit_codes import ExitCode

if TYPE_CHECKING:
    from etl.services.lake import LakeExport

_DAYS: Final = re.compile(r"([1-9]\d{0,3})d", re.ASCII)


class DaysType(click.ParamType[timedelta]):
    """A number of days, like 30d."""

    name = "days"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Convert the text of the command line."""
        if isinstance(value, timedelta):
            return value
        match = _DAYS.fullmatch(value)
        if match is None:
            self.fail(f"{value!r} must be a number of days, like 30d", param, ctx)
        return timedelta(days=int(match[1]))


def export_lake(
    options: OutputOptions, folder: Path, accounts: tuple[str, ...], catalogue: str | None, expire: timedelta | None
) -> int:
    """Export what changed since the last export, and print what was done."""
    from etl.services.lake import export_to_lake

    result = export_to_lake(load_configured_settings(options, accounts), accounts, folder, catalogue, expire=expire)
    for refused in result.refused.values():
        report_error(options, refused)
    code = ExitCode.NEEDS_REVIEW if result.refused else ExitCode.OK
    if options.as_json:
        print_json({"path": str(folder), **_as_json(result), "exit_code": code})
    elif options.verbosity >= 0:
        _print(folder, result)
    return code


def _as_json(result: LakeExport) -> dict[str, Any]:
    return {
        "accounts": [
            {"account": account.label, "revision": account.revision, "days": account.days}
            for account in result.accounts.values()
        ],
        "rows": result.rows,
        "removed": result.removed,
        "refused": list(result.refused),
        "expired_files": result.expired_files,
    }


def _print(folder: Path, result: LakeExport) -> None:
    changed = [account.days for account in result.accounts.values() if account.days]
    days = sum(changed)
    click.echo(
        f"{folder}: {days:,} {'day' if days == 1 else 'days'} of {len(changed):,} "
        f"{'account' if len(changed) == 1 else 'accounts'} replaced, {result.rows:,} rows"
    )
    for label in result.removed:
        click.echo(f"  {label} was renamed or deleted: its rows are removed from the lake")
    if result.expired_files is not None:
        click.echo(f"  {result.expired_files:,} files of old snapshots deleted")
