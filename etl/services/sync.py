"""A run from its lock to its last line in the history: `sync`, `backfill` and `accept` are the same thing."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import URL, Engine
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

import etl
from etl import signals
from etl.config.schema import Settings
from etl.date_ranges import exclude_days, plan_history, split_into_windows, sync_range
from etl.db.bindings import Binding, BindingRemarks, fingerprint_of, require_binding
from etl.db.engine import database_exists, describe_error, pooled_engine, read_connection, translate_errors
from etl.db.ledger import (
    RunHandle,
    SyncState,
    begin_run,
    find_account,
    finish_run,
    purged_days,
    read_complete,
    read_largest_answers,
    read_position,
    set_range,
    stored_counts,
)
from etl.db.limits import longest_text
from etl.db.lock import advisory_lock
from etl.db.migrate import ensure_current, has_current_schema, in_memory_database, require_schema, schema_revision
from etl.db.ownership import require_ours
from etl.db.prune import delete_by_id, expired_rejects, expired_runs
from etl.db.retry import retry_transaction
from etl.db.tables import rejected_records, sync_runs
from etl.errors import BillingError, CheckFailedError, ConfigError, DatabaseError, Interrupted, SourceUnavailable
from etl.extract.client import Client, RetryPolicy
from etl.extract.source import Source
from etl.extract.transport import RequestLimits, Transport
from etl.load.loader import LoadPolicy
from etl.model import DateRange, FeedReader, Outcome, RunCounts, TextLimit
from etl.pipeline import PipelineContext, transfer_windows
from etl.reconcile import BalanceSummary
from etl.services.balance import SHORT_TIMEOUT_SECONDS, BalanceMonitor, SpendLedger
from etl.services.resync_plan import plan_resync
from etl.transform.long_texts import quarantine_long_texts
from etl.transform.pseudonymise import PhonePolicy
from etl.transform.reader import read_feed

log = logging.getLogger(__name__)

DEFAULT_HISTORY_DAYS: Final = 30
SCHEMA_LOCK_TIMEOUT: Final = 120.0
"""Seconds to wait for another account's run that is migrating the same database."""


@dataclass(frozen=True, slots=True)
class AccountHistory:
    """What the database has of an account before a run.

    Attributes:
        complete: Complete days, and how many records each has.
        largest: Records in the largest answer of earlier runs, by source.
        longest: The longest text that it takes.
        remarks: What a person should know of the account's token.
    """

    complete: Mapping[date, int] = field(default_factory=dict)
    largest: Mapping[str, int] = field(default_factory=dict)
    longest: TextLimit | None = None
    remarks: BindingRemarks = field(default_factory=BindingRemarks)


LockFactory = Callable[..., AbstractContextManager[None]]
"""As `etl.db.lock.advisory_lock`."""
Connect = Callable[..., Transport]
"""Makes a transport, as the class itself does."""
OpenDatabase = Callable[[URL], AbstractContextManager[Engine]]
"""As `etl.db.engine.pooled_engine`."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a run is asked to do.

    Attributes:
        command: `sync`, `backfill` or `accept`.
        wait: Seconds to wait for the account's lock.
        deep: A sync compares every stored day that the vendor still serves, not only the lookback.
        explicit_account: Somebody asked for this very account.
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
    def is_of_range(self) -> bool:
        """Whether it names the days that are reported; a suspect day elsewhere is fetched as well."""
        return self.command == "backfill" or (self.command == "sync" and bool(self.since or self.until))

    @property
    def accepted(self) -> frozenset[date]:
        """The day that is taken however implausible it is."""
        return frozenset({self.since} if self.command == "accept" and self.since else ())

    def span(self) -> tuple[date, date]:
        """The first and the last day of a `backfill` or `accept`.

        Raises:
            ConfigError: It names none.
        """
        if self.since is None or self.until is None:
            raise ConfigError(f"{self.command} needs a first and a last day")
        return self.since, self.until


@dataclass(slots=True)
class RunResult:
    """How a run went; `error` is what ended it early, if anything did; `balance` is what is to be said of it.

    Attributes:
        retired_at: Since when the account is retired: then nothing is fetched.
        tally: Of all windows; `own` of those that were asked for, `also` of suspect days elsewhere.
        also_fetched: Suspect days outside the range of the order.
    """

    account: str
    command: str
    dry_run: bool
    windows: list[DateRange] = field(default_factory=list)
    tally: RunCounts = field(default_factory=RunCounts)
    sources: set[str] = field(default_factory=set)
    watermark: date | None = None
    seconds: float = 0.0
    error: BillingError | None = None
    balance: BalanceSummary | None = None
    retired_at: datetime | None = None
    own: RunCounts = field(default_factory=RunCounts)
    also: RunCounts = field(default_factory=RunCounts)
    also_fetched: list[date] = field(default_factory=list)

    @property
    def needs_review(self) -> bool:
        """Whether it is done, but something in it is for a person."""
        return bool(self.own.rejected or self.tally.suspect_days)

    @property
    def own_windows(self) -> list[DateRange]:
        """The windows without suspect days elsewhere."""
        return [window for window in self.windows if window.first not in self.also_fetched]

    def add(self, window: DateRange, tally: RunCounts) -> None:
        """Count a window that is done."""
        (self.also if window.first in self.also_fetched else self.own).merge(tally)

    @property
    def outcome(self) -> Outcome:
        """How it ended, for the history."""
        return "failed" if self.error else "look" if self.needs_review else "done"


@dataclass(frozen=True, slots=True)
class ProgressListener:
    """Receives progress: `message` a sentence, `total` the number of windows, `advance` each window that is done."""

    message: Callable[[str], None]
    total: Callable[[int], None]
    advance: Callable[[DateRange, RunCounts], None]


def utc_now() -> datetime:
    """The present moment."""
    return datetime.now(UTC)


def run_sync(
    settings: Settings,
    order: RunRequest,
    watcher: ProgressListener,
    *,
    redact: Callable[[str], str],
    exit_code_of: Callable[[RunResult], int],
    clock: Callable[[], datetime] = utc_now,
    hold: LockFactory = advisory_lock,
    connect: Connect = Transport,
    open_database: OpenDatabase = pooled_engine,
) -> RunResult:
    """Do what is ordered for one account.

    Args:
        settings: Of the account.
        order: What to do.
        watcher: Is told how it goes on.
        redact: Takes secrets out of a text.
        exit_code_of: For the history.
        clock: The present moment, aware.
        hold: Holds the account's lock. Nothing but the fence stands between runs for which it holds none.
        connect: Makes the transport to the vendor.
        open_database: Gives the engine.

    Returns:
        A report, with the error that ended the run early if one did: what was completed before is kept.

    Raises:
        ConfigError: Before anything is done.
    """
    report = RunResult(settings.account, order.command, order.dry_run)
    begun = time.monotonic()
    settings.require_token()
    with open_database(settings.database_url) as engine:
        try:
            with translate_errors(), account_lock(engine, settings, order, hold):
                ready = retry_transaction(partial(ensure_schema, engine, settings, dry_run=order.dry_run))
                opened = partial(open_client, settings, redact, connect=connect)
                with opened() as client, opened(hurried=True) as hurried:
                    _execute(settings, order, watcher, report, ready, client, hurried, clock, exit_code_of, redact)
        except BillingError as error:
            report.error = report.error or error
    report.seconds = time.monotonic() - begun
    return report


@contextmanager
def account_lock(engine: Engine, settings: Settings, order: RunRequest, hold: LockFactory) -> Iterator[None]:
    """The account's lock for the whole run; a dry run of a database that is not there leaves nothing behind."""
    if order.dry_run and not database_exists(engine):
        yield
        return
    with hold(engine, f"account-{settings.account}", wait=order.wait):
        yield


def ensure_schema(engine: Engine, settings: Settings, *, dry_run: bool) -> Engine:
    """The engine of a database with the present schema, migrated if need be and allowed.

    Raises:
        SchemaMismatchError: It has another schema and may not be migrated, or another program uses it.
    """
    if dry_run and not database_exists(engine):
        return in_memory_database()
    with read_connection(engine) as connection:
        if has_current_schema(connection):
            return engine
        require_ours(connection)
        if dry_run and schema_revision(connection) is None:
            return in_memory_database()
        if dry_run or not settings.auto_migrate:
            require_schema(connection)
    with advisory_lock(engine, "schema", wait=SCHEMA_LOCK_TIMEOUT):
        # Whoever held the lock before may have done it: doing it again would take the views away from their readers.
        with read_connection(engine) as connection:
            done = has_current_schema(connection)
        if not done:
            ensure_current(engine)
    return engine


@contextmanager
def open_client(
    settings: Settings, redact: Callable[[str], str], *, hurried: bool = False, connect: Connect = Transport
) -> Iterator[Client]:
    """The vendor's API with this account's token; a hurried client asks once and does not wait long."""
    token = settings.require_token()
    longest = SHORT_TIMEOUT_SECONDS if hurried else float("inf")
    limits = RequestLimits(
        min(settings.timeout, longest), min(settings.request_deadline, longest), settings.max_response_mb << 20
    )
    transport = connect(settings.api_url, token, limits, user_agent=f"billing-etl/{etl.__version__}", redact=redact)
    try:
        yield Client(transport, RetryPolicy(1 if hurried else settings.retry_attempts, settings.retry_max_wait))
    finally:
        transport.close()


def open_source(
    settings: Settings, client: Client, *, today: date, last: date, known: AccountHistory | None = None
) -> Source:
    """The account's two sources, their answers read by the transform."""
    known = known or AccountHistory()
    read = build_reader(settings, known.longest)
    return Source(client, read, today=today, last=last, complete=known.complete, largest=known.largest)


def build_spend_ledger(
    engine: Engine, settings: Settings, account_id: int, client: Client, today: date, watermark: date | None
) -> SpendLedger:
    """What the account's balance is held against."""
    source = open_source(settings, client, today=today, last=today)
    return SpendLedger(engine, account_id, source, today, settings.timezone, watermark, settings.window_days)


def build_reader(settings: Settings, longest: TextLimit | None = None) -> FeedReader:
    """The transform of a feed, in the account's zone and in the form in which it stores phones and codes."""
    read = build_phone_policy(settings).wrap_reader(
        lambda feed, window, keep: read_feed(feed, window, settings.timezone, keep)
    )
    return quarantine_long_texts(read, longest) if longest else read


def build_phone_policy(settings: Settings) -> PhonePolicy:
    """How this account's phones and codes are stored."""
    return PhonePolicy(settings.phones, settings.codes, settings.phones_key_file or b"")


def account_binding(settings: Settings) -> Binding:
    """What this account's rows depend on."""
    token = settings.api_token
    fingerprint = fingerprint_of(token) if token else None
    return Binding(build_phone_policy(settings).form, fingerprint, settings.timezone, settings.labels)


def build_load_policy(
    settings: Settings, today: date, *, thorough: bool, accepted: frozenset[date] = frozenset()
) -> LoadPolicy:
    """What loading goes by for this account."""
    return LoadPolicy(
        today=today,
        zone=settings.timezone,
        lookback=settings.lookback_days,
        max_withdrawn_share=settings.max_withdrawn_share,
        full_compare=thorough,
        accepted_days=accepted,
    )


def plan_request(
    settings: Settings, order: RunRequest, position: SyncState, today: date, complete: Collection[date]
) -> tuple[list[DateRange], list[date]]:
    """The windows a run fetches, and the suspect days among them that lie outside the range of the order."""
    if order.command == "sync":
        wanted = sync_range(
            start=settings.start_date or today - timedelta(days=DEFAULT_HISTORY_DAYS),
            watermark=position.watermark,
            first_synced=position.first_day,
            today=today,
            lookback=settings.lookback_days,
            since=order.since,
            until=order.until,
        )
    else:
        since, until = order.span()
        last = min(until, today)
        wanted = DateRange(since, last) if since <= last else None
    # A day that is not believed is asked for again by every run, until the vendor comes to its senses.
    again = [] if order.command == "accept" else [day for day in position.suspect_days if day <= today]
    history: list[date] = []
    if order.command == "sync" and order.since is None:
        last = order.until or today
        history = [day for day in plan_history(settings.start_date, position.first_day, complete) if day <= last]
    if not order.is_of_range:
        return split_into_windows(wanted, [*again, *history], size=settings.window_days), []
    own = split_into_windows(wanted, history, size=settings.window_days)
    elsewhere = [day for day in again if not any(day in window for window in own)]
    windows = own + split_into_windows(None, elsewhere, size=1)
    return sorted(windows, key=lambda window: window.first), elsewhere


def _execute(
    settings: Settings,
    order: RunRequest,
    watcher: ProgressListener,
    report: RunResult,
    engine: Engine,
    client: Client,
    hurried: Client,
    clock: Callable[[], datetime],
    exit_code_of: Callable[[RunResult], int],
    redact: Callable[[str], str],
) -> None:
    today = clock().astimezone(settings.timezone).date()
    account_id, position, known = retry_transaction(partial(_load_state, engine, settings))
    report.watermark = position.watermark
    if position.retired_at:
        report.retired_at = _skip_retired(settings, order, position.retired_at)
        return
    _log_remarks(settings, known.remarks, watcher)
    planned, report.also_fetched = plan_request(settings, order, position, today, known.complete)
    windows = report.windows = _exclude_purged(engine, account_id, planned, order, watcher)
    _require_suspect(settings, order, position)
    _log_plan(settings, order, position, today, windows, watcher)
    scales = BalanceMonitor(hurried, clock, is_wanted=order.command != "accept" and not order.dry_run)
    run: RunHandle | None = None
    rules = build_load_policy(settings, today, thorough=order.command == "backfill", accepted=order.accepted)
    watcher.total(len(windows))
    try:
        if not order.dry_run:
            with signals.deferred():
                run = _begin_run(engine, settings, account_id, order, windows, clock)
            account_id = run.account_id
        if windows:
            scales.read("before")
            source = open_source(settings, client, today=today, last=windows[-1].last, known=known)
            if order.deep:
                windows = report.windows = _plan_sweep(engine, settings, account_id, run, windows, source, watcher)
            job = PipelineContext(
                source, engine, account_id, run, rules, settings.concurrency, clock, partial(_step, report, watcher)
            )
            transfer_windows(job, windows, report.tally, report.sources)
        if missing := report.tally.missing_days:
            days = ", ".join(map(str, split_into_windows(None, missing, size=len(missing))))
            reason = next(iter(missing.values()))
            report.error = SourceUnavailable(
                f"no source could show these days whole, and they stay open: {days} ({reason})"
            )
        elif run is not None and windows:
            scales.record(
                build_spend_ledger(engine, settings, run.account_id, hurried, today, position.watermark),
                windows,
                run.id,
            )
    except BillingError as error:
        report.error = error
    except SQLAlchemyError as error:
        report.error = DatabaseError(describe_error(error))
    except Interrupted as stopped:
        _finish_interrupted(engine, run, 128 + stopped.signal_number, clock)
        raise
    waits_for = (*report.tally.suspect_days, *report.tally.missing_days)
    report.balance = scales.summary(settings.low_balance, waits_for)
    code = exit_code_of(report)
    # The vendor's words may repeat the URL, and with it the token, which stands in no table.
    error_text = redact(str(report.error)) if report.error else None

    def end() -> None:
        _finish_run(engine, run, report.outcome, code, error_text, clock)
        with read_connection(engine) as connection:
            report.watermark = read_position(connection, account_id).watermark

    if _record_end(report, end):
        _prune_history(engine, run, settings, clock())


def _record_end(report: RunResult, end: Callable[[], None]) -> bool:
    """Write the last line of the history, and say whether that worked; where not, the run has failed."""
    try:
        with signals.deferred():
            if isinstance(report.error, DatabaseError):
                end()  # retried for long enough already
            else:
                retry_transaction(end)
    except SQLAlchemyError as error:
        if report.error is None:
            report.error = _unrecorded(error)
        elif not isinstance(report.error, DatabaseError):  # else it is the same news again
            log.error("%s", _unrecorded(error))
        return False
    return True


def _unrecorded(error: SQLAlchemyError) -> DatabaseError:
    return DatabaseError(f"what was fetched is stored, but not how the run ended: {describe_error(error)}")


def _step(report: RunResult, watcher: ProgressListener, window: DateRange, tally: RunCounts) -> None:
    report.add(window, tally)
    watcher.advance(window, tally)


def _require_suspect(settings: Settings, order: RunRequest, position: SyncState) -> None:
    """Make sure that there is something to accept: taken for whole without a doubt, an answer would doubt nothing.

    Raises:
        CheckFailedError: There is not.
    """
    if order.command != "accept" or order.since in position.suspect_days:
        return
    day = order.since
    if position.first_day is None:
        raise CheckFailedError(f"nothing of the account {settings.account} is stored yet; run: billing-etl sync")
    if order.even_if_not_suspect:
        return
    suspect = ", ".join(map(str, position.suspect_days)) or "none"
    raise CheckFailedError(
        f"{day} is not suspect, and there is nothing to accept (suspect days: {suspect}); billing-etl backfill --since "
        f"{day} --until {day} fetches it again, and accept --even-if-not-suspect takes whatever the vendor has"
    )


def _log_remarks(settings: Settings, remarks: BindingRemarks, watcher: ProgressListener) -> None:
    if remarks.notice:
        watcher.message(f"{settings.account}: {remarks.notice}")
    if remarks.warning:
        log.warning("%s", remarks.warning)


def _log_plan(
    settings: Settings,
    order: RunRequest,
    position: SyncState,
    today: date,
    windows: list[DateRange],
    watcher: ProgressListener,
) -> None:
    """Say what nobody set and what cannot be done."""
    if position.first_day is None and order.command == "sync" and order.since is None and windows:
        reason = "BILLING_START_DATE" if settings.start_date else "30 days back; BILLING_START_DATE sets another day"
        watcher.message(f"{settings.account}: a first sync, beginning with {windows[0].first} ({reason})")
    elif position.first_day and windows and windows[0].first < position.first_day and order.since is None:
        watcher.message(f"{settings.account}: days from {windows[0].first} on are missing and are fetched too")
    if order.until and order.until > today:
        watcher.message(f"{settings.account}: {order.until} lies in the future; fetching up to today, {today}")


def _plan_sweep(
    engine: Engine,
    settings: Settings,
    account_id: int | None,
    run: RunHandle | None,
    nightly: list[DateRange],
    source: Source,
    watcher: ProgressListener,
) -> list[DateRange]:
    with read_connection(engine) as connection:
        stored = stored_counts(connection, account_id)
    sweep = plan_resync(stored, nightly, source.has_data_for, size=settings.window_days)
    watcher.total(len(sweep.windows))
    if left := sweep.skipped_days:
        watcher.message(
            f"{settings.account}: {len(left)} stored days up to {left[-1]} are left as they are: the vendor does not "
            "serve them any more, or not whole"
        )
    if run is not None:
        with signals.deferred(), engine.begin() as connection:
            set_range(connection, run, sweep.windows)
    return sweep.windows


def _load_state(engine: Engine, settings: Settings) -> tuple[int | None, SyncState, AccountHistory]:
    with read_connection(engine) as connection:
        remarks = require_binding(connection, settings.account, account_binding(settings))
        account_id = find_account(connection, settings.account)
        known = AccountHistory(
            read_complete(connection, account_id),
            read_largest_answers(connection, account_id),
            longest_text(connection),
            remarks,
        )
        return account_id, read_position(connection, account_id), known


def _skip_retired(settings: Settings, order: RunRequest, retired_at: datetime) -> datetime:
    """Leave a retired account alone, unless somebody asked for this very one: that must be a mistake."""
    if order.command != "sync" or order.explicit_account:
        raise ConfigError(
            f"the account {settings.account} is retired since {retired_at:%Y-%m-%d}; "
            f"billing-etl account resume {shlex.quote(settings.account)} brings it back"
        )
    return retired_at


def _exclude_purged(
    engine: Engine, account_id: int | None, windows: list[DateRange], order: RunRequest, watcher: ProgressListener
) -> list[DateRange]:
    """The windows without days whose records were purged: they would come back, and count twice in their month."""
    if account_id is None or not windows:
        return windows
    asked = DateRange(windows[0].first, windows[-1].last)

    def look_up() -> frozenset[date]:
        with read_connection(engine) as connection:
            return purged_days(connection, account_id, asked)

    purged = retry_transaction(look_up) & {day for window in windows for day in window.days()}
    if not purged:
        return windows
    days = "1 day" if len(purged) == 1 else f"{len(purged):,} days"
    words = f"the records of {days} from {min(purged)} to {max(purged)} were purged"
    if order.command != "sync":
        raise ConfigError(f"{words}, and are not fetched again; ask for other days")
    watcher.message(f"{words}; they are left out")
    return exclude_days(windows, purged)


def _begin_run(
    engine: Engine,
    settings: Settings,
    account_id: int | None,
    order: RunRequest,
    windows: list[DateRange],
    clock: Callable[[], datetime],
) -> RunHandle:
    def begin() -> RunHandle:
        with engine.begin() as connection:
            return begin_run(
                connection,
                label=settings.account,
                command=order.command,
                version=etl.__version__,
                windows=windows,
                now=clock(),
                binding=account_binding(settings),
            )

    # Two first runs of one token under two labels would not see each other's account: one of them waits for the other.
    alone = advisory_lock(engine, "schema", wait=SCHEMA_LOCK_TIMEOUT) if account_id is None else nullcontext()
    with alone:
        # Two of one label that no lock keeps apart both write its row: one of them finds it the next time.
        return retry_transaction(begin, also=(IntegrityError,))


def _finish_run(
    engine: Engine, run: RunHandle | None, outcome: Outcome, code: int, error: str | None, clock: Callable[[], datetime]
) -> None:
    if run is not None:
        with engine.begin() as connection:
            finish_run(connection, run, outcome=outcome, exit_code=code, error=error, now=clock())


def _finish_interrupted(engine: Engine, run: RunHandle | None, code: int, clock: Callable[[], datetime]) -> None:
    try:
        _finish_run(engine, run, "stopped", code, None, clock)
    except SQLAlchemyError as error:
        log.error("%s", _unrecorded(error))


def _prune_history(engine: Engine, run: RunHandle | None, settings: Settings, now: datetime) -> None:
    """Remove what is old by the settings, or try again after the next run."""
    if run is None:
        return
    try:
        with signals.deferred():
            for table, days, find in (
                (sync_runs, settings.keep_runs, expired_runs),
                (rejected_records, settings.keep_rejected, expired_rejects),
            ):
                while days is not None:
                    with read_connection(engine) as connection:
                        numbers = find(connection, run.account_id, now - timedelta(days=days))
                    if not numbers:
                        break
                    with engine.begin() as connection:
                        delete_by_id(connection, table, numbers)
    except SQLAlchemyError as error:
        log.warning("the oldest lines of the history stay until the next run: %s", describe_error(error))
