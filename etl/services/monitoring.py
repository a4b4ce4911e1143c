"""The report of several accounts' runs to monitoring: heartbeats at their start and their end, and the metrics file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import URL

from etl.db.engine import database_exists, read_connection
from etl.db.errors import translate_errors
from etl.errors import BillingError, DatabaseError, Interrupted
from etl.exit_codes import ExitCode, most_severe
from etl.ops.heartbeat import TIMEOUT_SECONDS, Heartbeat
from etl.services.context import utc_now
from etl.services.database import open_engine
from etl.services.run import AccountOutcome

if TYPE_CHECKING:
    from etl.ops.metrics import AccountGauges

INTERRUPTED_TIMEOUT_SECONDS: Final = 2.0
"""For the last heartbeat of interrupted runs: the process has to end within five seconds."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Where runs are reported.

    Attributes:
        heartbeat: Reports their start and their end.
        metrics_file: Receives their metrics; None for no file.
        labels: The accounts that run, in the order of the report.
        all_there_are: Whether these are all configured accounts: samples of other accounts are removed from the file.
        summarise: Creates the text of the last heartbeat from the outcomes and the exit code.
    """

    heartbeat: Heartbeat
    metrics_file: Path | None
    labels: Sequence[str]
    all_there_are: bool
    summarise: Callable[[Sequence[AccountOutcome], int], str]

    @contextmanager
    def report(self) -> Iterator[list[AccountOutcome]]:
        """Report the runs of a block, which adds their outcomes to the list; its end brings them into order."""
        outcomes: list[AccountOutcome] = []
        self.heartbeat.start()
        code: int = ExitCode.SOFTWARE
        timeout = TIMEOUT_SECONDS
        try:
            yield outcomes
            code = most_severe(outcome.exit_code for outcome in outcomes)
        except Interrupted as stopped:
            code, timeout = stopped.exit_code, INTERRUPTED_TIMEOUT_SECONDS
            raise
        finally:
            positions = {label: position for position, label in enumerate(self.labels)}
            outcomes.sort(key=lambda outcome: positions[outcome.result.account])
            if self.metrics_file:
                try:
                    _write_metrics(self.metrics_file, outcomes, all_there_are=self.all_there_are, patience=timeout)
                except Exception as error:  # noqa: BLE001 - metrics must not fail a run
                    log.warning("the metrics file is not updated: %s", type(error).__name__)
            self.heartbeat.finish(code, self.summarise(outcomes, code), patience=timeout)


def _write_metrics(path: Path, outcomes: Iterable[AccountOutcome], *, all_there_are: bool, patience: float) -> None:
    """Write the metrics of runs, and the gauges of their accounts from each database that answers."""
    from etl.ops.metrics import RunOutcome, load_gauges, write_metrics  # runs without the file start faster

    now = utc_now()
    by_database: dict[URL, list[AccountOutcome]] = {}
    for outcome in outcomes:
        if outcome.settings is not None:
            by_database.setdefault(outcome.settings.database_url, []).append(outcome)
    gauges: dict[str, AccountGauges] = {}
    for url, group in by_database.items():
        # A database that failed in every run is not tried again: its timeout would delay the exit.
        if not all(isinstance(outcome.result.error, DatabaseError) for outcome in group):
            labels = [outcome.result.account for outcome in group]
            with suppress(BillingError), translate_errors():
                engine = open_engine(url)
                if database_exists(engine):
                    with read_connection(engine) as connection:
                        gauges |= load_gauges(connection, labels, now)
    runs = [
        RunOutcome(result.account, outcome.exit_code, result.seconds, result.counts, gauges.get(result.account))
        for outcome in outcomes
        for result in [outcome.result]
        if result.retired_at is None  # a retired account has no lateness to alert on
    ]
    write_metrics(path, runs, now, all_there_are=all_there_are, patience=patience)
