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
from etl.date_ranges import leave_out, plan_history, plan_sync, plan_windows
from etl.db.bindings import Binding, Remarks, fingerprint_of, require_binding
from etl.db.engine import database_errors, database_exists, describe, keep_connected, reading
from etl.db.ledger import (
    Position,
    Run,
    begin_run,
    count_records,
    end_run,
    find_account,
    read_complete,
    read_largest_answers,
    read_position,
    read_purged,
    write_range,
)
from etl.db.limits import longest_text
from etl.db.lock import hold_lock
from etl.db.migrate import create_or_migrate, empty_database, is_current, require_schema, schema_revision
from etl.db.ownership import require_ours
from etl.db.prune import find_old_rejected, find_old_runs, remove_rows
from etl.db.retry import try_again
from etl.db.tables import rejected_records, sync_runs
from etl.errors import BillingError, CheckFailed, ConfigError, DatabaseFailed, Stopped, VendorUnavailable
from etl.extract.client import Client, RetryPolicy
from etl.extract.source import Source
from etl.extract.source_days import ReadFeed
from etl.extract.transport import Limits, Transport
from etl.load.loader import Rules
from etl.model import Outcome, Tally, TextLimit, Window
from etl.pipeline import Job, sync_windows
from etl.reconcile import BalanceNews
from etl.services.balance import HURRIED_SECONDS, Books, Scales
from etl.services.resync_plan import plan_sweep
from etl.transform.long_texts import quarantine_long_texts
from etl.transform.pseudonymise import Protection
from etl.transform.reader import read_feed

log = logging.getLogger(__name__)

FIRST_SYNC_DAYS: Final = 30
MIGRATION_WAIT: Final = 120.0
"""Seconds to wait for another account's run that is migrating the same database."""


@dataclass(frozen=True, slots=True)
class Known:
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
    remarks: Remarks = field(default_factory=Remarks)


HoldLock = Callable[..., AbstractContextManager[None]]
"""As `etl.db.lock.hold_lock`."""
Connect = Callable[..., Transport]
"""Makes a transport, as the class itself does."""
OpenDatabase = Callable[[URL], AbstractContextManager[Engine]]
"""As `etl.db.engine.keep_connected`."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a run is asked to do.

    Attributes:
        command: `sync`, `backfill` or `accept`.
        wait: Seconds to wait for the account's lock.
        deep: A sync compares every stored day that the vendor still serves, not only the lookback.
        named: Somebody asked for this very account.
        even_if_not_suspect: An `accept` takes any stored day.
    """

    command: str
    since: date | None = None
    until: date | None = None
    dry_run: bool = False
    wait: float = 0.0
    deep: bool = False
    named: bool = False
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
class Report:
    """How a run went; `error` is what ended it early, if anything did; `balance` is what is to be said of it.

    Attributes:
        retired_at: Since when the account is retired: then nothing is fetched.
        tally: Of all windows; `own` of those that were asked for, `also` of suspect days elsewhere.
        also_fetched: Suspect days outside the range of the order.
    """

    account: str
    command: str
    dry_run: bool
    windows: list[Window] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    sources: set[str] = field(default_factory=set)
    watermark: date | None = None
    seconds: float = 0.0
    error: BillingError | None = None
    balance: BalanceNews | None = None
    retired_at: datetime | None = None
    own: Tally = field(default_factory=Tally)
    also: Tally = field(default_factory=Tally)
    also_fetched: list[date] = field(default_factory=list)

    @property
    def needs_a_look(self) -> bool:
        """Whether it is done, but something in it is for a person."""
        return bool(self.own.rejected or self.tally.suspect_days)

    @property
    def own_windows(self) -> list[Window]:
        """The windows without suspect days elsewhere."""
        return [window for window in self.windows if window.first not in self.also_fetched]

    def add(self, window: Window, tally: Tally) -> None:
        """Count a window that is done."""
        (self.also if window.first in self.also_fetched else self.own).add(tally)

    @property
    def outcome(self) -> Outcome:
        """How it ended, for the history."""
        return "failed" if self.error else "look" if self.needs_a_look else "done"


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who is told how a run goes on: `say` gets sentences, `plan` the number of windows, `step` each one done."""

    say: Callable[[str], None]
    plan: Callable[[int], None]
    step: Callable[[Window, Tally], None]


def utc_now() -> datetime:
    """The present moment."""
    return datetime.now(UTC)


def run_account(
    settings: Settings,
    order: Order,
    watcher: Watcher,
    *,
    redact: Callable[[str], str],
    exit_code_of: Callable[[Report], int],
    clock: Callable[[], datetime] = utc_now,
    hold: HoldLock = hold_lock,
    connect: Connect = Transport,
    open_database: OpenDatabase = keep_connected,
) -> Report:
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
    report = Report(settings.account, order.command, order.dry_run)
    begun = time.monotonic()
    settings.require_token()
    with open_database(settings.database_url) as engine:
        try:
            with database_errors(), hold_lock_unless_dry(engine, settings, order, hold):
                ready = try_again(partial(prepare_database, engine, settings, dry_run=order.dry_run))
                opened = partial(open_client, settings, redact, connect=connect)
                with opened() as client, opened(hurried=True) as hurried:
                    _run(settings, order, watcher, report, ready, client, hurried, clock, exit_code_of, redact)
        except BillingError as error:
            report.error = report.error or error
    report.seconds = time.monotonic() - begun
    return report


@contextmanager
def hold_lock_unless_dry(engine: Engine, settings: Settings, order: Order, hold: HoldLock) -> Iterator[None]:
    """The account's lock for the whole run; a dry run of a database that is not there leaves nothing behind."""
    if order.dry_run and not database_exists(engine):
        yield
        return
    with hold(engine, f"account-{settings.account}", wait=order.wait):
        yield


def prepare_database(engine: Engine, settings: Settings, *, dry_run: bool) -> Engine:
    """The engine of a database with the present schema, migrated if need be and allowed.

    Raises:
        SchemaMismatch: It has another schema and may not be migrated, or another program uses it.
    """
    if dry_run and not database_exists(engine):
        return empty_database()
    with reading(engine) as connection:
        if is_current(connection):
            return engine
        require_ours(connection)
        if dry_run and schema_revision(connection) is None:
            return empty_database()
        if dry_run or not settings.auto_migrate:
            require_schema(connection)
    with hold_lock(engine, "schema", wait=MIGRATION_WAIT):
        # Whoever held the lock before may have done it: doing it again would take the views away from their readers.
        with reading(engine) as connection:
            done = is_current(connection)
        if not done:
            create_or_migrate(engine)
    return engine


@contextmanager
def open_client(
    settings: Settings, redact: Callable[[str], str], *, hurried: bool = False, connect: Connect = Transport
) -> Iterator[Client]:
    """The vendor's API with this account's token; a hurried client asks once and does not wait long."""
    token = settings.require_token()
    longest = HURRIED_SECONDS if hurried else float("inf")
    limits = Limits(
        min(settings.timeout, longest), min(settings.request_deadline, longest), settings.max_response_mb << 20
    )
    transport = connect(settings.api_url, token, limits, user_agent=f"billing-etl/{etl.__version__}", redact=redact)
    try:
        yield Client(transport, RetryPolicy(1 if hurried else settings.retry_attempts, settings.retry_max_wait))
    finally:
        transport.close()


def open_source(settings: Settings, client: Client, *, today: date, last: date, known: Known | None = None) -> Source:
    """The account's two sources, their answers read by the transform."""
    known = known or Known()
    read = read_feed_of(settings, known.longest)
    return Source(client, read, today=today, last=last, complete=known.complete, largest=known.largest)


def books_of(
    engine: Engine, settings: Settings, account_id: int, client: Client, today: date, watermark: date | None
) -> Books:
    """What the account's balance is held against."""
    source = open_source(settings, client, today=today, last=today)
    return Books(engine, account_id, source, today, settings.timezone, watermark, settings.window_days)


def read_feed_of(settings: Settings, longest: TextLimit | None = None) -> ReadFeed:
    """The transform of a feed, in the account's zone and in the form in which it stores phones and codes."""
    read = protection_of(settings).wrap(lambda feed, window, keep: read_feed(feed, window, settings.timezone, keep))
    return quarantine_long_texts(read, longest) if longest else read


def protection_of(settings: Settings) -> Protection:
    """How this account's phones and codes are stored."""
    return Protection(settings.phones, settings.codes, settings.phones_key_file or b"")


def binding_of(settings: Settings) -> Binding:
    """What this account's rows depend on."""
    token = settings.api_token
    fingerprint = fingerprint_of(token) if token else None
    return Binding(protection_of(settings).form, fingerprint, settings.timezone, settings.labels)


def rules_of(settings: Settings, today: date, *, thorough: bool, accepted: frozenset[date] = frozenset()) -> Rules:
    """What loading goes by for this account."""
    return Rules(
        today=today,
        zone=settings.timezone,
        lookback=settings.lookback_days,
        max_withdrawn_share=settings.max_withdrawn_share,
        thorough=thorough,
        accepted=accepted,
    )


def plan_order(
    settings: Settings, order: Order, position: Position, today: date, complete: Collection[date]
) -> tuple[list[Window], list[date]]:
    """The windows a run fetches, and the suspect days among them that lie outside the range of the order."""
    if order.command == "sync":
        wanted = plan_sync(
            start=settings.start_date or today - timedelta(days=FIRST_SYNC_DAYS),
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
        wanted = Window(since, last) if since <= last else None
    # A day that is not believed is asked for again by every run, until the vendor comes to its senses.
    again = [] if order.command == "accept" else [day for day in position.suspect_days if day <= today]
    history: list[date] = []
    if order.command == "sync" and order.since is None:
        last = order.until or today
        history = [day for day in plan_history(settings.start_date, position.first_day, complete) if day <= last]
    if not order.is_of_range:
        return plan_windows(wanted, [*again, *history], size=settings.window_days), []
    own = plan_windows(wanted, history, size=settings.window_days)
    elsewhere = [day for day in again if not any(day in window for window in own)]
    windows = own + plan_windows(None, elsewhere, size=1)
    return sorted(windows, key=lambda window: window.first), elsewhere


def _run(
    settings: Settings,
    order: Order,
    watcher: Watcher,
    report: Report,
    engine: Engine,
    client: Client,
    hurried: Client,
    clock: Callable[[], datetime],
    exit_code_of: Callable[[Report], int],
    redact: Callable[[str], str],
) -> None:
    today = clock().astimezone(settings.timezone).date()
    account_id, position, known = try_again(partial(_look_up, engine, settings))
    report.watermark = position.watermark
    if position.retired_at:
        report.retired_at = _pass_by(settings, order, position.retired_at)
        return
    _remark(settings, known.remarks, watcher)
    planned, report.also_fetched = plan_order(settings, order, position, today, known.complete)
    windows = report.windows = _leave_purged_out(engine, account_id, planned, order, watcher)
    _require_suspect(settings, order, position)
    _announce(settings, order, position, today, windows, watcher)
    scales = Scales(hurried, clock, is_wanted=order.command != "accept" and not order.dry_run)
    run: Run | None = None
    rules = rules_of(settings, today, thorough=order.command == "backfill", accepted=order.accepted)
    watcher.plan(len(windows))
    try:
        if not order.dry_run:
            with signals.held_back():
                run = _begin(engine, settings, account_id, order, windows, clock)
            account_id = run.account_id
        if windows:
            scales.read("before")
            source = open_source(settings, client, today=today, last=windows[-1].last, known=known)
            if order.deep:
                windows = report.windows = _plan_sweep(engine, settings, account_id, run, windows, source, watcher)
            job = Job(
                source, engine, account_id, run, rules, settings.concurrency, clock, partial(_step, report, watcher)
            )
            sync_windows(job, windows, report.tally, report.sources)
        if missing := report.tally.missing_days:
            days = ", ".join(map(str, plan_windows(None, missing, size=len(missing))))
            reason = next(iter(missing.values()))
            report.error = VendorUnavailable(
                f"no source could show these days whole, and they stay open: {days} ({reason})"
            )
        elif run is not None and windows:
            scales.weigh(
                books_of(engine, settings, run.account_id, hurried, today, position.watermark), windows, run.id
            )
    except BillingError as error:
        report.error = error
    except SQLAlchemyError as error:
        report.error = DatabaseFailed(describe(error))
    except Stopped as stopped:
        _end_stopped(engine, run, 128 + stopped.signal_number, clock)
        raise
    waits_for = (*report.tally.suspect_days, *report.tally.missing_days)
    report.balance = scales.news(settings.low_balance, waits_for)
    code = exit_code_of(report)
    # The vendor's words may repeat the URL, and with it the token, which stands in no table.
    error_text = redact(str(report.error)) if report.error else None

    def end() -> None:
        _end(engine, run, report.outcome, code, error_text, clock)
        with reading(engine) as connection:
            report.watermark = read_position(connection, account_id).watermark

    if _record_end(report, end):
        _trim(engine, run, settings, clock())


def _record_end(report: Report, end: Callable[[], None]) -> bool:
    """Write the last line of the history, and say whether that worked; where not, the run has failed."""
    try:
        with signals.held_back():
            if isinstance(report.error, DatabaseFailed):
                end()  # retried for long enough already
            else:
                try_again(end)
    except SQLAlchemyError as error:
        if report.error is None:
            report.error = _unrecorded(error)
        elif not isinstance(report.error, DatabaseFailed):  # else it is the same news again
            log.error("%s", _unrecorded(error))
        return False
    return True


def _unrecorded(error: SQLAlchemyError) -> DatabaseFailed:
    return DatabaseFailed(f"what was fetched is stored, but not how the run ended: {describe(error)}")


def _step(report: Report, watcher: Watcher, window: Window, tally: Tally) -> None:
    report.add(window, tally)
    watcher.step(window, tally)


def _require_suspect(settings: Settings, order: Order, position: Position) -> None:
    """Make sure that there is something to accept: taken for whole without a doubt, an answer would doubt nothing.

    Raises:
        CheckFailed: There is not.
    """
    if order.command != "accept" or order.since in position.suspect_days:
        return
    day = order.since
    if position.first_day is None:
        raise CheckFailed(f"nothing of the account {settings.account} is stored yet; run: billing-etl sync")
    if order.even_if_not_suspect:
        return
    suspect = ", ".join(map(str, position.suspect_days)) or "none"
    raise CheckFailed(
        f"{day} is not suspect, and there is nothing to accept (suspect days: {suspect}); billing-etl backfill --since "
        f"{day} --until {day} fetches it again, and accept --even-if-not-suspect takes whatever the vendor has"
    )


def _remark(settings: Settings, remarks: Remarks, watcher: Watcher) -> None:
    if remarks.notice:
        watcher.say(f"{settings.account}: {remarks.notice}")
    if remarks.warning:
        log.warning("%s", remarks.warning)


def _announce(
    settings: Settings, order: Order, position: Position, today: date, windows: list[Window], watcher: Watcher
) -> None:
    """Say what nobody set and what cannot be done."""
    if position.first_day is None and order.command == "sync" and order.since is None and windows:
        reason = "BILLING_START_DATE" if settings.start_date else "30 days back; BILLING_START_DATE sets another day"
        watcher.say(f"{settings.account}: a first sync, beginning with {windows[0].first} ({reason})")
    elif position.first_day and windows and windows[0].first < position.first_day and order.since is None:
        watcher.say(f"{settings.account}: days from {windows[0].first} on are missing and are fetched too")
    if order.until and order.until > today:
        watcher.say(f"{settings.account}: {order.until} lies in the future; fetching up to today, {today}")


def _plan_sweep(
    engine: Engine,
    settings: Settings,
    account_id: int | None,
    run: Run | None,
    nightly: list[Window],
    source: Source,
    watcher: Watcher,
) -> list[Window]:
    with reading(engine) as connection:
        stored = count_records(connection, account_id)
    sweep = plan_sweep(stored, nightly, source.serves, size=settings.window_days)
    watcher.plan(len(sweep.windows))
    if left := sweep.left_alone:
        watcher.say(
            f"{settings.account}: {len(left)} stored days up to {left[-1]} are left as they are: the vendor does not "
            "serve them any more, or not whole"
        )
    if run is not None:
        with signals.held_back(), engine.begin() as connection:
            write_range(connection, run, sweep.windows)
    return sweep.windows


def _look_up(engine: Engine, settings: Settings) -> tuple[int | None, Position, Known]:
    with reading(engine) as connection:
        remarks = require_binding(connection, settings.account, binding_of(settings))
        account_id = find_account(connection, settings.account)
        known = Known(
            read_complete(connection, account_id),
            read_largest_answers(connection, account_id),
            longest_text(connection),
            remarks,
        )
        return account_id, read_position(connection, account_id), known


def _pass_by(settings: Settings, order: Order, retired_at: datetime) -> datetime:
    """Leave a retired account alone, unless somebody asked for this very one: that must be a mistake."""
    if order.command != "sync" or order.named:
        raise ConfigError(
            f"the account {settings.account} is retired since {retired_at:%Y-%m-%d}; "
            f"billing-etl account resume {shlex.quote(settings.account)} brings it back"
        )
    return retired_at


def _leave_purged_out(
    engine: Engine, account_id: int | None, windows: list[Window], order: Order, watcher: Watcher
) -> list[Window]:
    """The windows without days whose records were purged: they would come back, and count twice in their month."""
    if account_id is None or not windows:
        return windows
    asked = Window(windows[0].first, windows[-1].last)

    def look_up() -> frozenset[date]:
        with reading(engine) as connection:
            return read_purged(connection, account_id, asked)

    purged = try_again(look_up) & {day for window in windows for day in window.days()}
    if not purged:
        return windows
    days = "1 day" if len(purged) == 1 else f"{len(purged):,} days"
    words = f"the records of {days} from {min(purged)} to {max(purged)} were purged"
    if order.command != "sync":
        raise ConfigError(f"{words}, and are not fetched again; ask for other days")
    watcher.say(f"{words}; they are left out")
    return leave_out(windows, purged)


def _begin(
    engine: Engine,
    settings: Settings,
    account_id: int | None,
    order: Order,
    windows: list[Window],
    clock: Callable[[], datetime],
) -> Run:
    def begin() -> Run:
        with engine.begin() as connection:
            return begin_run(
                connection,
                label=settings.account,
                command=order.command,
                version=etl.__version__,
                windows=windows,
                now=clock(),
                binding=binding_of(settings),
            )

    # Two first runs of one token under two labels would not see each other's account: one of them waits for the other.
    alone = hold_lock(engine, "schema", wait=MIGRATION_WAIT) if account_id is None else nullcontext()
    with alone:
        # Two of one label that no lock keeps apart both write its row: one of them finds it the next time.
        return try_again(begin, also=(IntegrityError,))


def _end(
    engine: Engine, run: Run | None, outcome: Outcome, code: int, error: str | None, clock: Callable[[], datetime]
) -> None:
    if run is not None:
        with engine.begin() as connection:
            end_run(connection, run, outcome=outcome, exit_code=code, error=error, now=clock())


def _end_stopped(engine: Engine, run: Run | None, code: int, clock: Callable[[], datetime]) -> None:
    try:
        _end(engine, run, "stopped", code, None, clock)
    except SQLAlchemyError as error:
        log.error("%s", _unrecorded(error))


def _trim(engine: Engine, run: Run | None, settings: Settings, now: datetime) -> None:
    """Remove what is old by the settings, or try again after the next run."""
    if run is None:
        return
    try:
        with signals.held_back():
            for table, days, find in (
                (sync_runs, settings.keep_runs, find_old_runs),
                (rejected_records, settings.keep_rejected, find_old_rejected),
            ):
                while days is not None:
                    with reading(engine) as connection:
                        numbers = find(connection, run.account_id, now - timedelta(days=days))
                    if not numbers:
                        break
                    with engine.begin() as connection:
                        remove_rows(connection, table, numbers)
    except SQLAlchemyError as error:
        log.warning("the oldest lines of the history stay until the next run: %s", describe(error))
