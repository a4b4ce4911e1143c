"""Metrics of a run, in a file for the textfile collector of Prometheus' node exporter.

Samples in the file are carried over if this run has no newer ones: those of other accounts, and the state of an account
if the database was unavailable. Concurrent runs may write the same file, each the samples of its own accounts.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from pathlib import Path
from time import sleep
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from etl.db.tables import accounts, sync_state
from etl.ops.status_query import AccountStatus, read_account_statuses
from etl.run_counts import RunCounts

READABLE_BY_ALL: Final = 0o644
"""The collector runs as another user."""
LOCK_SECONDS: Final = 8.0
"""Maximum wait for the lock of the metrics file, which another process may hold."""
_LOCK_POLL_SECONDS: Final = 0.05

log = logging.getLogger(__name__)


class Metric(NamedTuple):
    """One metric.

    Attributes:
        meaning: The HELP text.
        label: Another label of its samples, in addition to `account`.
        standing: Whether it describes the state of the account, not the run: then it is carried over after a failure.
    """

    name: str
    meaning: str
    label: str | None = None
    standing: bool = False


METRICS: Final = (
    Metric("billing_etl_last_run_timestamp_seconds", "End time of the last run"),
    Metric("billing_etl_last_run_duration_seconds", "Duration of the last run"),
    Metric("billing_etl_last_run_exit_code", "Exit code of the last run"),
    Metric("billing_etl_last_run_records", "Records of the last run, by outcome", label="outcome"),
    Metric(
        "billing_etl_last_success_timestamp_seconds",
        "End time of the last run with exit code 0 or 65",
        standing=True,
    ),
    Metric(
        "billing_etl_watermark_timestamp_seconds",
        "End of the last day up to which all days are complete; the age of the data is time() minus this",
        standing=True,
    ),
    Metric("billing_etl_suspect_dates", "Suspect days: the latest answer of the vendor was implausible", standing=True),
    Metric("billing_etl_missing_dates", "Incomplete days between complete ones", standing=True),
    Metric("billing_etl_rejected_records", "Quarantined records", standing=True),
    Metric("billing_etl_balance", "The newest balance snapshot, in the account's currency", standing=True),
    Metric("billing_etl_balance_timestamp_seconds", "Time of the newest balance snapshot", standing=True),
    Metric(
        "billing_etl_unexplained_amount",
        "Changes of the balance that neither records nor top-ups explain; negative is the sum of the charges",
        standing=True,
    ),
)
"""The metrics, in the order of the file."""

Labels = tuple[str, ...]
"""The values of the labels: the account and, if the metric has another label, its value."""
Samples = dict[str, dict[Labels, float]]
"""Values by metric name and labels."""
Lines = dict[str, list[str]]
"""Lines of the file by metric name."""
_SAMPLE_LINE: Final = re.compile(
    r"""
    ^(?P<metric>\w+) \{account="(?P<account>[^"\\\n]*(?:\\.[^"\\\n]*)*)"(?:,(?P<label>\w+)="\w*")?\}
    [ ](?:NaN|[-+]?(?:Inf|[0-9.]+(?:e[-+]?[0-9]+)?))\n""",
    re.MULTILINE | re.VERBOSE | re.ASCII,
)
"""A sample as `render` writes it. Carried over as text: parsing the samples of thousands of accounts takes a second."""


@dataclass(frozen=True, slots=True)
class AccountGauges:
    """The state of an account in the database.

    Attributes:
        synced_until: The end of the watermark's day.
    """

    status: AccountStatus
    synced_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """The result of one account's run; `standing` is None if the database was unavailable."""

    account: str
    exit_code: int
    seconds: float
    counts: RunCounts
    standing: AccountGauges | None


def load_gauges(connection: Connection, labels: Iterable[str], now: datetime) -> dict[str, AccountGauges]:
    """Read the state of accounts by label, including accounts that were never synced."""
    statuses = read_account_statuses(connection, labels, now)
    return {status.account: _load_gauges(connection, status) for status in statuses}


def _load_gauges(connection: Connection, status: AccountStatus) -> AccountGauges:
    label = accounts.c.label == status.account
    synced_until = connection.scalar(select(sync_state.c.synced_until_utc).join(accounts).where(label))
    return AccountGauges(status, synced_until)


def write_metrics(
    path: Path, runs: Iterable[RunOutcome], now: datetime, *, all_there_are: bool, patience: float = LOCK_SECONDS
) -> None:
    """Replace the file. A failure is logged as a warning and does not fail the run.

    Args:
        path: The file; the collector ignores names that do not end with `.prom`.
        runs: One result per account.
        now: When the runs ended.
        all_there_are: Whether these are all configured accounts: samples of other accounts are removed.
        patience: Seconds to wait for other processes that write the file.
    """
    runs = list(runs)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _lock_beside(path, patience):
            lines = carry_over(_read_previous(path), runs, all_there_are=all_there_are)
            try:
                temporary.write_text(render(_samples_of_runs(runs, now), lines), encoding="utf-8")
                temporary.chmod(READABLE_BY_ALL)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be written, and the metrics stay as they were: %s", path, error.strerror)
    if path.suffix != ".prom":
        log.warning("the node exporter reads no metrics from %s: the name must end with .prom", path)


@contextmanager
def _lock_beside(path: Path, patience: float) -> Iterator[None]:
    """Hold the lock of a metrics file: without it, concurrent runs would lose each other's samples.

    The lock is on a separate file, because the metrics file is replaced. Windows has no such locks.

    Raises:
        OSError: The lock is not free in time, or its file cannot be written.
    """
    with path.with_name(f".{path.name}.lock").open("ab") as file:
        if sys.platform != "win32":
            import fcntl

            for remaining in range(ceil(patience / _LOCK_POLL_SECONDS), -1, -1):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not remaining:
                        raise
                    sleep(_LOCK_POLL_SECONDS)
        yield


def carry_over(previous: str, runs: Iterable[RunOutcome], *, all_there_are: bool) -> Lines:
    """The sample lines of a previous file that these runs do not replace; other lines are left out."""
    by_account = {_escape(run.account): run for run in runs}
    by_name = {metric.name: metric for metric in METRICS}
    lines: Lines = {}
    for match in _SAMPLE_LINE.finditer(previous):
        metric, account = by_name.get(match["metric"]), match["account"]
        if metric is None or match["label"] != metric.label:
            continue
        run = by_account.get(account)
        if (metric.standing and run.standing is None) if run else not all_there_are:
            lines.setdefault(metric.name, []).append(match[0])
    return lines


def _samples_of_runs(runs: Iterable[RunOutcome], now: datetime) -> Samples:
    samples: Samples = {}
    for run in runs:
        for name, labels, value in _samples_of(run, now):
            samples.setdefault(name, {})[labels] = value
    return samples


def _samples_of(run: RunOutcome, now: datetime) -> Iterator[tuple[str, Labels, float]]:
    account = (run.account,)
    yield "billing_etl_last_run_timestamp_seconds", account, now.timestamp()
    yield "billing_etl_last_run_duration_seconds", account, run.seconds
    yield "billing_etl_last_run_exit_code", account, run.exit_code
    for outcome, count in run.counts.as_dict().items():
        if outcome != "days":
            yield "billing_etl_last_run_records", (run.account, outcome), count
    if run.standing is None:
        return
    standing, status = run.standing, run.standing.status
    if status.last_success_at is not None:
        yield "billing_etl_last_success_timestamp_seconds", account, status.last_success_at.timestamp()
    if standing.synced_until is not None:
        yield "billing_etl_watermark_timestamp_seconds", account, standing.synced_until.timestamp()
    yield "billing_etl_suspect_dates", account, len(status.suspect_days)
    yield "billing_etl_missing_dates", account, sum(map(len, status.gaps))
    yield "billing_etl_rejected_records", account, status.rejected
    if (balance := status.balance) is None:
        return
    yield "billing_etl_balance", account, float(balance.balance)
    yield "billing_etl_balance_timestamp_seconds", account, balance.taken_at.timestamp()
    if not balance.waits_for:
        yield "billing_etl_unexplained_amount", account, float(balance.unexplained_amount)


def render(samples: Mapping[str, Mapping[Labels, float]], carried: Lines | None = None) -> str:
    """The samples, and the lines carried over from a previous file, in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    text = ""
    for metric in METRICS:
        names = ("account", metric.label) if metric.label else ("account",)
        registry = CollectorRegistry()
        gauge = Gauge(metric.name, metric.meaning, names, registry=registry)
        for labels, value in sorted(samples.get(metric.name, {}).items()):
            gauge.labels(*labels).set(value)
        text += generate_latest(registry).decode() + "".join((carried or {}).get(metric.name, ()))
    return text


def _read_previous(path: Path) -> str:
    """The content of the file; empty if it does not exist or cannot be read."""
    try:
        return path.read_text("utf-8", errors="replace") if path.is_file() else ""
    except OSError as error:
        log.warning("%s cannot be read and is recreated: %s", path, error.strerror)
        return ""


def _escape(label: str) -> str:
    """The value of a label as it is written. Source: Prometheus' text format."""
    return label.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
