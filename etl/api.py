"""The Python API: for orchestrators and programs of your own, in place of the command line.

    >>> from etl import api
    >>> for label in api.accounts("billing.toml"):
    ...     result = api.run("billing.toml", label, command="sync")
    ...     print(label, result.exit_code, result.watermark)

Its names, fields and meanings change with the major version only; new fields may come with any version. All functions
may be called from several threads at once, also for one account: the runs of an account exclude each other. They set up
no logging, no signal handlers and no environment. `docs/reference/api.md` describes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from etl.amounts import exact_sum
from etl.config.loader import default_label, load_account, select_accounts
from etl.config.schema import Settings
from etl.config.sources import Configuration, read_configuration
from etl.date_ranges import DateRange
from etl.day_totals import DayChange
from etl.errors import BillingError, ConfigError
from etl.log import Redactor, log_context
from etl.ops.status_query import AccountStatus
from etl.run_counts import RunCounts
from etl.services.changes import list_changes
from etl.services.run import ProgressListener, RunRequest, SyncResult
from etl.services.status import read_status_report
from etl.services.sync import run_sync

__all__ = [
    "AccountStatus",
    "BillingError",
    "ConfigError",
    "DateRange",
    "DayChange",
    "RunResult",
    "RunRows",
    "accounts",
    "accounts_by_token",
    "changes",
    "run",
    "status",
    "vendor_timezone",
]

Config = str | PathLike[str] | None
"""A TOML file, as `--config`; None for the default files. Environment variables take precedence."""
COMMANDS: Final = ("sync", "backfill", "accept")


@dataclass(frozen=True, slots=True)
class RunRows:
    """Days and rows of a run by outcome.

    Attributes:
        days: Fetched and compared days.
        new: Inserted or restored rows.
        changed: Corrected rows.
        withdrawn: Rows that the vendor no longer lists.
        unchanged: Current rows without a change.
        rejected: Records that could not be read and are quarantined.
        acknowledged: Those of them that a person acknowledged.
    """

    days: int = 0
    new: int = 0
    changed: int = 0
    withdrawn: int = 0
    unchanged: int = 0
    rejected: int = 0
    acknowledged: int = 0


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run.

    Attributes:
        account: The account's label.
        command: `sync`, `backfill` or `accept`.
        exit_code: The exit code of the same command: 0, 65 (done, but needs attention), or the code of the error.
        error: What ended the run early, in one line without secrets; None if nothing did. Completed days are kept.
        seconds: Duration.
        requested: The requested days, as ranges in order; empty if there was nothing to fetch.
        requested_rows: Days and rows of the requested days.
        besides: Suspect days outside of the request, which every run fetches again, in order.
        besides_rows: Days and rows of `besides`.
        records: Number of stored records of the requested days after the run, repeats included; None if not known.
        spend: Their spend, in the account's currency; None if not known.
        balance: The account's balance; None if the vendor did not report it.
        unexplained: Sum of the changes of the balance that neither records nor top-ups explain, signed as the balance;
            None without a balance.
        watermark: The last of the contiguous complete days; None while there is none.
        suspect_days: Days whose answer was implausible, which were left as they were; `accept` stores them.
        missing_days: Days that no source could show to be complete, which stay open, with the reason.
        review_reasons: Why an operator is needed, one sentence for each reason: suspect or missing days, rejected
            records that are not acknowledged, a balance that is low or decreased without a record.
        notices: Messages about the plan of the run, as the command line prints them.
        retired: The account is retired, and a `sync` fetched nothing.
    """

    account: str
    command: str
    exit_code: int
    error: str | None = None
    seconds: float = 0.0
    requested: tuple[DateRange, ...] = ()
    requested_rows: RunRows = RunRows()
    besides: tuple[date, ...] = ()
    besides_rows: RunRows = RunRows()
    records: int | None = None
    spend: Decimal | None = None
    balance: Decimal | None = None
    unexplained: Decimal | None = None
    watermark: date | None = None
    suspect_days: tuple[date, ...] = ()
    missing_days: Mapping[date, str] | None = None
    review_reasons: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    retired: bool = False

    @property
    def needs_review(self) -> bool:
        """Whether an operator is needed, whatever the exit code."""
        return bool(self.review_reasons)


def accounts(config: Config = None) -> list[str]:
    """The labels of the configured accounts, in the order of the file.

    Args:
        config: A TOML file; None for the default files.

    Raises:
        ConfigError: The file cannot be read.
    """
    return _labels(_read(config))


def accounts_by_token(config: Config = None) -> list[list[str]]:
    """The labels of the configured accounts, those with the same token together.

    Two accounts of a group must not run at the same time: the vendor gets one request at a time for a token.

    Args:
        config: A TOML file; None for the default files.

    Returns:
        Groups of labels, in the order of the file. An account with invalid settings is a separate group.

    Raises:
        ConfigError: The file cannot be read.
    """
    configuration = _read(config)
    groups: dict[tuple[str, ...], list[str]] = {}
    for label in _labels(configuration):
        groups.setdefault(_token_of(configuration, label), []).append(label)
    return list(groups.values())


def vendor_timezone(config: Config = None) -> ZoneInfo:
    """The zone of the vendor's days, for schedules: `BILLING_TIMEZONE` outside of the sections of accounts.

    Args:
        config: A TOML file; None for the default files.

    Raises:
        ConfigError: The file cannot be read, or the zone is invalid.
    """
    zone: ZoneInfo
    (zone,) = (item.value() for item in _read(config).resolve(None) if item.setting.name == "timezone")
    return zone


def run(
    config: Config,
    account: str,
    *,
    command: str,
    since: date | None = None,
    until: date | None = None,
    wait: float = 0,
    deep: bool = False,
) -> RunResult:
    """Run one account once, as the command of that name does.

    Args:
        config: A TOML file; None for the default files.
        account: The account's label.
        command: `sync`, the nightly job; `backfill`, a past range; `accept`, a suspect day, which is `since`.
        since: First day; required for `backfill` and `accept`.
        until: Last day, inclusive; required for `backfill`.
        wait: Seconds to wait for another run of the account.
        deep: A `sync` compares every stored day that the vendor still serves, as `sync --deep`.

    Returns:
        The result, also of a run that failed: see `exit_code` and `error`.

    Raises:
        ValueError: The command is unknown, a day is missing, the range ends before it begins, or `deep` does not
            apply to the command.
        ConfigError: A setting is missing or wrong, or the account is unknown. Nothing was done.
    """
    request = RunRequest(command, since, since if command == "accept" else until, wait=wait, deep=deep)
    _require_days(request)
    settings = _load(config, account)
    redact = Redactor(settings.secrets())
    notices: list[str] = []
    listener = ProgressListener(notices.append, lambda _count: None, lambda _window, _counts: None)
    with log_context(account=settings.account):
        done = run_sync(settings, request, listener, redact=redact)
    return _result_of(done, tuple(map(redact, notices)), redact(str(done.error)) if done.error else None)


def status(config: Config, account: str) -> AccountStatus:
    """The status of one account, as the command `status` shows it; empty before its first run.

    Args:
        config: A TOML file; None for the default files.
        account: The account's label.

    Raises:
        ConfigError: A setting is missing or wrong, or the account is unknown.
        BillingError: The database cannot be read, or has the schema of another version.
    """
    return read_status_report([_load(config, account)], with_others=False).statuses[0]


def changes(config: Config, account: str, after_revision: int | None) -> Iterator[DayChange]:
    """The days of an account that changed after a revision, in the order of their revisions.

    A copy replaces each of these days with what the view `billing` has of it, which is nothing for a purged day, and
    then keeps the last revision. Revisions ascend with the commits of an account: no change is ever below one that was
    visible. A day comes once, with its last revision.

    Args:
        config: A TOML file; None for the default files.
        account: The account's label.
        after_revision: The last revision that the copy has; None for a first copy, which gets every day.

    Raises:
        ConfigError: A setting is missing or wrong, or the account is unknown.
        BillingError: The database cannot be read, or the account is below that revision, because it was deleted and
            fetched again or restored from a backup: copy it again, from None on.
    """
    return iter(list_changes(_load(config, account), after_revision))


def _load(config: Config, account: str) -> Settings:
    configuration = read_configuration(_path(config))
    (label,) = select_accounts(configuration, (account,))
    return load_account(configuration, label)


def _read(config: Config) -> Configuration:
    configuration = read_configuration(_path(config))
    if configuration.error is not None:
        raise configuration.error
    return configuration


def _labels(configuration: Configuration) -> list[str]:
    return [label or default_label(configuration) for label in select_accounts(configuration, ())]


def _token_of(configuration: Configuration, label: str) -> tuple[str, ...]:
    """The vendor's address and the token of an account; its label where there is none."""
    try:
        settings = load_account(configuration, label)
    except ConfigError:
        return (label,)
    return (settings.api_url, settings.api_token) if settings.api_token else (label,)


def _path(config: Config) -> Path | None:
    return None if config is None else Path(config)


def _require_days(request: RunRequest) -> None:
    if request.command not in COMMANDS:
        raise ValueError(f"command {request.command!r} must be one of {', '.join(COMMANDS)}")
    if request.command != "sync" and (request.since is None or request.until is None):
        raise ValueError(f"{request.command} needs {'since' if request.command == 'accept' else 'since and until'}")
    if request.deep and (request.command != "sync" or request.since or request.until):
        raise ValueError("deep is for a sync without since and until")
    if request.since and request.until and request.since > request.until:
        raise ValueError(f"since={request.since} is after until={request.until}")


def _result_of(done: SyncResult, notices: tuple[str, ...], error: str | None) -> RunResult:
    balance, ledger = done.balance, done.ledger
    return RunResult(
        account=done.account,
        command=done.command,
        exit_code=done.exit_code,
        error=error,
        seconds=done.seconds,
        requested=tuple(done.requested_windows),
        requested_rows=_rows_of(done.requested_counts),
        besides=tuple(done.besides),
        besides_rows=_rows_of(done.besides_counts),
        records=ledger.records if ledger else None,
        spend=ledger.spend if ledger else None,
        balance=balance.balance if balance else None,
        unexplained=exact_sum(period.unexplained for period in balance.unexplained) if balance else None,
        watermark=done.watermark,
        suspect_days=tuple(done.counts.suspect_days),
        missing_days=dict(done.counts.missing_days),
        review_reasons=tuple(done.review_reasons()),
        notices=notices,
        retired=done.retired_at is not None,
    )


def _rows_of(counts: RunCounts) -> RunRows:
    return RunRows(**counts.as_dict(), acknowledged=len(counts.acknowledged))
