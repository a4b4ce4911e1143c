"""One run of one account: the request, the result, and the listener to its progress."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import date, datetime

from etl.config.schema import Settings
from etl.date_ranges import DateRange
from etl.day_totals import LedgerTotals
from etl.errors import BillingError, ConfigError
from etl.exit_codes import ExitCode, code_for_error
from etl.reconcile import BalanceSummary
from etl.run_counts import Outcome, RunCounts


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The request for a run.

    Attributes:
        command: `sync`, `backfill` or `accept`.
        since: First day; None for the default of the command.
        until: Last day; None for today.
        dry_run: Compare, and write nothing.
        wait: Seconds to wait for the account's lock.
        deep: A sync compares every stored day that the vendor still serves, not only the lookback.
        explicit_account: The command line names this account.
        even_if_not_suspect: An `accept` takes any stored day.
    """

    command: str
    since: date | None = None
    until: date | None = None
    dry_run: bool = False
    wait: float = 0.0
    deep: bool = False
    explicit_account: bool = False
    even_if_not_suspect: bool = False

    @property
    def names_a_range(self) -> bool:
        """Whether the run reports the days of a range only. Suspect days outside of it are fetched as well."""
        return self.command == "backfill" or (self.command == "sync" and bool(self.since or self.until))

    @property
    def is_monitored(self) -> bool:
        """Whether monitoring expects the run: dry runs and `accept` are not the nightly job."""
        return self.command in {"sync", "backfill"} and not self.dry_run

    @property
    def accepted_days(self) -> frozenset[date]:
        """The day that is stored however implausible it is."""
        return frozenset({self.since} if self.command == "accept" and self.since else ())

    def span(self) -> tuple[date, date]:
        """The first and the last day of a `backfill` or `accept`.

        Raises:
            ConfigError: There is none.
        """
        if self.since is None or self.until is None:
            raise ConfigError(f"{self.command} needs a first and a last day")
        return self.since, self.until


@dataclass(slots=True)
class SyncResult:
    """The result of a run.

    Attributes:
        windows: Fetched ranges, in order.
        counts: Counts of all windows.
        requested_counts: Counts of `requested_windows`.
        besides_counts: Counts of `besides`.
        sources: Names of the sources used.
        watermark: The last synced day after the run.
        error: What ended the run early, if anything did.
        balance: The balance and what it leaves unexplained; None where the vendor reported none.
        retired_at: Since when the account is retired: then nothing is fetched.
        besides: Suspect days outside the requested range.
        ledger: Totals of the stored days of `requested_windows` after the run; None if they could not be read.
        run_id: Row of `sync_runs`; None for a dry run, or before it begins.
    """

    account: str
    command: str
    dry_run: bool
    windows: list[DateRange] = field(default_factory=list)
    counts: RunCounts = field(default_factory=RunCounts)
    sources: set[str] = field(default_factory=set)
    watermark: date | None = None
    seconds: float = 0.0
    error: BillingError | None = None
    balance: BalanceSummary | None = None
    retired_at: datetime | None = None
    requested_counts: RunCounts = field(default_factory=RunCounts)
    besides_counts: RunCounts = field(default_factory=RunCounts)
    besides: list[date] = field(default_factory=list)
    ledger: LedgerTotals | None = None
    run_id: int | None = None

    @property
    def needs_review(self) -> bool:
        """Whether the run left requested records or suspect days for an operator to decide: exit code 65."""
        return bool(self.requested_counts.rejected - self.requested_counts.acknowledged or self.counts.suspect_days)

    def review_reasons(self) -> list[str]:
        """Why an operator is needed, one sentence for each reason; a balance alone does not change the exit code."""
        counts = self.counts
        reasons = [
            f"{day} is suspect: its answer was implausible, the stored day was kept" for day in counts.suspect_days
        ]
        reasons += [f"{day} is open: {reason}" for day, reason in counts.missing_days.items()]
        if rejected := len(counts.rejected - counts.acknowledged):
            reasons.append(f"rejected records: {rejected}")
        if self.balance and self.balance.is_low:
            reasons.append(f"the balance is low: {self.balance.balance}, below {self.balance.limit}")
        if self.balance and (charged := self.balance.unexplained_charges):
            reasons.append(f"the balance decreased by {charged} without a record")
        return reasons

    @property
    def exit_code(self) -> int:
        """Its exit code, as a plain int: PyMySQL cannot bind an enum."""
        if self.error is not None:
            return int(code_for_error(self.error))
        return int(ExitCode.NEEDS_REVIEW if self.needs_review else ExitCode.OK)

    @property
    def requested_windows(self) -> list[DateRange]:
        """The windows without suspect days elsewhere."""
        return [window for window in self.windows if window.first not in self.besides]

    def add(self, window: DateRange, counts: RunCounts, sources: Collection[str]) -> None:
        """Count a loaded window."""
        self.counts.merge(counts)
        (self.besides_counts if window.first in self.besides else self.requested_counts).merge(counts)
        self.sources.update(sources)

    @property
    def outcome(self) -> Outcome:
        """The outcome in `sync_runs`."""
        return "failed" if self.error else "look" if self.needs_review else "done"


@dataclass(frozen=True, slots=True)
class AccountOutcome:
    """How the run of one of several accounts ended.

    Attributes:
        settings: None where they are wrong.
        exit_code: That of the result, of a signal, or of a stdout that failed.
        signal_number: The signal that ended the run; None if none did.
    """

    settings: Settings | None
    result: SyncResult
    exit_code: int
    signal_number: int | None = None


@dataclass(frozen=True, slots=True)
class ProgressListener:
    """Receives progress: `message` a sentence, `total` the number of windows, `advance` each completed window."""

    message: Callable[[str], None]
    total: Callable[[int], None]
    advance: Callable[[DateRange, RunCounts], None]
