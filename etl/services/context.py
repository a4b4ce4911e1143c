"""The resources of a run: the lock, the schema, the vendor's client, and the settings of an account as policies."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final

from sqlalchemy import URL, Connection, Engine

import etl
from etl.channels import DEFAULT_RULES, ChannelRules
from etl.config.schema import Settings
from etl.db.bindings import Binding, BindingRemarks, PriceTerms, fingerprint_of, require_binding
from etl.db.channels import find_unclassified
from etl.db.days import read_complete
from etl.db.engine import database_exists, read_connection
from etl.db.limits import longest_text
from etl.db.lock import account_lock, advisory_lock
from etl.db.migrate import (
    OLDER_REVISIONS,
    ensure_current,
    has_current_schema,
    in_memory_database,
    require_schema,
    schema_revision,
)
from etl.db.ownership import require_ours
from etl.db.rejects import read_rejected
from etl.db.run_store import SyncState, find_account, read_largest_answers, read_sync_state
from etl.db.tables import SCHEMA_REVISION
from etl.extract.client import Client, RetryPolicy
from etl.extract.run_evidence import RunEvidence
from etl.extract.source import Source
from etl.extract.spool import RecordSpool
from etl.extract.transport import RequestLimits, Transport
from etl.extract.unlisted import UNLISTED
from etl.load.policy import LoadPolicy
from etl.model import FeedReader, RejectedRecord, TextLimit
from etl.services.balance import SHORT_TIMEOUT_SECONDS
from etl.services.database import pooled_engine
from etl.services.run import RunRequest
from etl.services.setting_errors import environment_names, named_settings
from etl.transform.long_texts import quarantine_long_texts
from etl.transform.pseudonymise import PhonePolicy
from etl.transform.reader import read_feed

SCHEMA_LOCK_TIMEOUT: Final = 120.0
"""Seconds to wait for another run that migrates the same database."""

LockFactory = Callable[..., AbstractContextManager[None]]
"""As `etl.db.lock.account_lock`."""
Connect = Callable[..., Transport]
"""Opens a transport, as the class itself does."""
OpenDatabase = Callable[[URL], AbstractContextManager[Engine]]
"""As `etl.services.database.pooled_engine`."""


@dataclass(frozen=True, slots=True)
class RunResources:
    """How a run opens what it uses; tests replace parts of it.

    Attributes:
        lock: Creates the account's lock. Without one the fence alone separates two runs.
        connect: Opens the transport to the vendor.
        open_database: Opens the engine.
        open_spool: Creates the storage of an answer's records.
    """

    lock: LockFactory = account_lock
    connect: Connect = Transport
    open_database: OpenDatabase = pooled_engine
    open_spool: Callable[[], RecordSpool] = RecordSpool


@dataclass(frozen=True, slots=True)
class AccountHistory:
    """The stored state of an account before a run.

    Attributes:
        id: `accounts.id`; None before the account's first run.
        state: Its watermark and suspect days.
        complete: Number of records of each complete day.
        largest: Records in the largest answer of earlier runs, by source.
        longest: The longest text that the database stores.
        remarks: Remarks on changed settings.
        unclassified: Number of records of each day that was not classified by the account's rules for channels.
        unlisted: Quarantined records that only `get_billing_record` lists.
    """

    id: int | None = None
    state: SyncState = field(default_factory=SyncState)
    complete: Mapping[date, int] = field(default_factory=dict)
    largest: Mapping[str, int] = field(default_factory=dict)
    longest: TextLimit | None = None
    remarks: BindingRemarks = field(default_factory=BindingRemarks)
    unclassified: Mapping[date, int] = field(default_factory=dict)
    unlisted: Collection[RejectedRecord] = ()


def utc_now() -> datetime:
    """The present time, aware."""
    return datetime.now(UTC)


@contextmanager
def run_lock(engine: Engine, settings: Settings, request: RunRequest, lock: LockFactory) -> Iterator[None]:
    """The account's lock for the whole run. A dry run creates no database to lock."""
    if request.dry_run and not database_exists(engine):
        yield
        return
    with lock(engine, settings.account, wait=request.wait):
        yield


def ensure_schema(
    engine: Engine, settings: Settings, *, dry_run: bool, report: Callable[[str], None] = lambda _message: None
) -> Engine:
    """The engine of a database with the current schema, migrated if BILLING_AUTO_MIGRATE allows it.

    Args:
        engine: The engine of the database.
        settings: The settings of the account.
        dry_run: Migrate nothing.
        report: Receives a message before and after a migration.

    Raises:
        SchemaMismatchError: It has another schema and must not be migrated, or belongs to another program.
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
        # The run that held the lock before may have migrated; recreated views would be missing for a moment.
        with read_connection(engine) as connection:
            is_current, revision = has_current_schema(connection), schema_revision(connection)
        if not is_current:
            is_older = revision in OLDER_REVISIONS
            if is_older:
                report(f"{settings.account}: migrating the database from revision {revision} to {SCHEMA_REVISION}")
            ensure_current(engine)
            if is_older:
                report(f"{settings.account}: the database is migrated to revision {SCHEMA_REVISION}")
    return engine


@contextmanager
def open_client(
    settings: Settings, redact: Callable[[str], str], *, short_timeout: bool = False, connect: Connect = Transport
) -> Iterator[Client]:
    """The vendor's API with this account's token; with `short_timeout` one attempt of a few seconds."""
    token = settings.require_token()
    at_most = SHORT_TIMEOUT_SECONDS if short_timeout else float("inf")
    limits = RequestLimits(
        min(settings.timeout, at_most), min(settings.request_deadline, at_most), settings.max_response_mb << 20
    )
    transport = connect(
        settings.api_url,
        token,
        limits,
        user_agent=f"billing-etl/{etl.__version__}",
        redact=redact,
        route=settings.route_to(settings.api_url),
        token_source=settings.token_source,
        names=environment_names(),
    )
    try:
        yield Client(transport, RetryPolicy(1 if short_timeout else settings.retry_attempts, settings.retry_max_wait))
    finally:
        transport.close()


def open_source(
    settings: Settings,
    client: Client,
    *,
    today: date,
    last: date,
    account: AccountHistory | None = None,
    accepted_days: frozenset[date] = frozenset(),
    open_spool: Callable[[], RecordSpool] = RecordSpool,
) -> Source:
    """The account's source of days: JSON and CSV, read by the transform.

    Args:
        settings: The settings of the account.
        client: Sends the requests.
        today: The current date in the vendor's wall clock.
        last: The last day of the run.
        account: The stored state of the account.
        accepted_days: Days to take although newest records are missing.
        open_spool: Creates the storage of an answer's records.
    """
    account = account or AccountHistory()
    read = build_reader(settings, account.longest)
    evidence = RunEvidence.begin(
        client, read, today, account.complete, account.largest, account.unlisted, accepted_days
    )  # fmt: skip
    return Source(client, read, evidence, last=last, open_spool=open_spool)


def build_reader(settings: Settings, longest: TextLimit | None = None) -> FeedReader:
    """The transform of a feed: the account's zone, and its formats of phones and codes."""
    read = build_phone_policy(settings).wrap_reader(
        lambda feed, window, keep: read_feed(feed, window, settings.timezone, keep)
    )
    return quarantine_long_texts(read, longest) if longest else read


def build_phone_policy(settings: Settings) -> PhonePolicy:
    """The stored formats of this account's phones and codes."""
    return PhonePolicy(settings.phones, settings.codes, settings.phones_key_file or b"")


def account_binding(settings: Settings) -> Binding:
    """The settings that this account's rows depend on."""
    token = settings.api_token
    fingerprint = fingerprint_of(token) if token else None
    form = build_phone_policy(settings).form
    return Binding(
        form, fingerprint, settings.timezone, settings.labels, settings.token_labels, price_terms(settings)
    )  # fmt: skip


def require_account_settings(connection: Connection, settings: Settings) -> BindingRemarks:
    """Require that the settings are those that the account's rows depend on.

    Raises:
        ConfigError: The token, the zone or the privacy settings differ, or a change of the account was interrupted.
    """
    with named_settings():
        return require_binding(connection, settings.account, account_binding(settings))


def price_terms(settings: Settings) -> PriceTerms:
    """The currency and the VAT of the account's prices."""
    rate = settings.vat_rate
    return PriceTerms(settings.currency, None if rate is None else int(rate * 100), settings.vat)


def build_load_policy(settings: Settings, today: date, *, full_compare: bool) -> LoadPolicy:
    """The account's rules for comparing and writing; `plan.plan_load` adds those of a run."""
    return LoadPolicy(
        today=today,
        zone=settings.timezone,
        lookback=settings.lookback_days,
        max_withdrawn_share=settings.max_withdrawn_share,
        full_compare=full_compare,
    )


def channel_rules(settings: Settings) -> ChannelRules:
    """The account's rules for the channel of a record."""
    rules = ChannelRules(settings.channels) if settings.channels else DEFAULT_RULES
    return rules if settings.codes == "keep" else rules.without_codes()


def read_account_history(connection: Connection, settings: Settings) -> AccountHistory:
    """Read the state of an account.

    Raises:
        ConfigError: The token, the zone or the privacy settings are not those of the stored rows.
    """
    remarks = require_account_settings(connection, settings)
    account_id = find_account(connection, settings.account)
    return AccountHistory(
        account_id,
        read_sync_state(connection, account_id),
        read_complete(connection, account_id),
        read_largest_answers(connection, account_id),
        longest_text(connection),
        remarks,
        find_unclassified(connection, account_id, channel_rules(settings)),
        read_rejected(connection, account_id, UNLISTED),
    )
