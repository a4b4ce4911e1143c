"""Export to a lake: what changed since the last export, each database in one consistent read."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from itertools import chain
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, func, select

from etl import signals
from etl.config.schema import Settings
from etl.db.days import read_changes
from etl.db.engine import read_connection, require_database
from etl.db.errors import translate_errors
from etl.db.migrate import require_schema
from etl.db.run_store import read_revision
from etl.db.tables import accounts, numbering_ranges
from etl.errors import ConfigError, DiskFullError
from etl.lake.catalogue import Lake, open_lake
from etl.lake.conflicts import retry_conflicts
from etl.lake.expiry import expire_snapshots
from etl.lake.plan import AccountState, Cursor, continues, deleted_labels, group_commits, label_before
from etl.lake.schema import NUMBERING_COLUMNS
from etl.lake.writer import DIGEST_PROPERTY, LedgerMismatch, TextRow, commit_accounts, replace_numbering
from etl.reports.columns import BILLING
from etl.reports.query import ExportFilter, iter_batches, resolve_accounts
from etl.services.context import utc_now
from etl.services.database import pooled_engine


@dataclass(frozen=True, slots=True)
class ExportedAccount:
    """An account of the lake after an export.

    Attributes:
        revision: The revision that the lake has of it.
        days: Number of days that were replaced or removed.
    """

    label: str
    revision: int
    days: int


@dataclass(slots=True)
class LakeExport:
    """The result of an export to a lake.

    Attributes:
        accounts: The accounts that the lake has now as the database has them, by label.
        rows: Number of written rows.
        removed: Labels of accounts that left the lake, because they were renamed or deleted.
        refused: Accounts whose rows are not those of the day ledger, by label: nothing of them is exported.
        expired_files: Number of deleted files of old snapshots; None unless any were to be expired.
    """

    accounts: dict[str, ExportedAccount] = field(default_factory=dict)
    rows: int = 0
    removed: list[str] = field(default_factory=list)
    refused: dict[str, LedgerMismatch] = field(default_factory=dict)
    expired_files: int | None = None


def export_to_lake(
    all_settings: Iterable[Settings],
    labels: tuple[str, ...],
    folder: Path,
    catalogue: str | None,
    *,
    expire: timedelta | None = None,
    now: datetime | None = None,
) -> LakeExport:
    """Bring the lake to the state of the databases.

    Args:
        all_settings: Settings of the selected accounts.
        labels: Labels to export; empty for all accounts of their databases.
        folder: The folder of the lake.
        catalogue: URI of the catalogue; see `open_lake`.
        expire: Age from which on snapshots are removed with their files; None keeps them.
        now: The present time, aware; None for that of the clock.

    Raises:
        ConfigError: Unknown account, a library is not installed, or the lake cannot be opened.
        DatabaseError: A database cannot be read, or has the schema of another version.
        ConcurrentRunError: Other processes changed the lake at each attempt.
        DiskFullError: The disk is full.
    """
    by_database: dict[URL, list[str]] = {}
    for settings in all_settings:
        by_database.setdefault(settings.database_url, []).append(settings.account)
    with ExitStack() as engines, _files_of(folder):
        databases = {engines.enter_context(pooled_engine(url)): known for url, known in by_database.items()}
        for engine in databases:
            require_database(engine)
        return _export(databases, labels, folder, catalogue, expire, now or utc_now())


@contextmanager
def _files_of(folder: Path) -> Iterator[None]:
    """Name the cause where files of the lake cannot be written or read."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(f"the disk is full: nothing more is exported to {folder}") from None
        raise ConfigError(f"--out {folder}: {error.strerror or type(error).__name__}") from None


def _export(
    databases: Mapping[Engine, Sequence[str]],
    labels: tuple[str, ...],
    folder: Path,
    catalogue: str | None,
    expire: timedelta | None,
    now: datetime,
) -> LakeExport:
    chosen = {engine: tuple(label for label in known if label in labels) for engine, known in databases.items()}
    number = _count_accounts(chosen)
    lake = retry_conflicts(lambda: open_lake(folder, catalogue, number))
    result = LakeExport()
    for engine, selected in chosen.items():
        retry_conflicts(partial(_export_database, engine, lake, selected, result))
    if expire is not None:
        result.expired_files = sum(
            retry_conflicts(partial(expire_snapshots, table, now - expire)) for table in (lake.billing, lake.numbering)
        )
    return result


def _count_accounts(databases: Mapping[Engine, tuple[str, ...]]) -> int:
    """Count the accounts of all databases.

    Raises:
        ConfigError: Unknown account, or two databases have a selected account of the same label.
    """
    number, selected = 0, list[str]()
    for engine, labels in databases.items():
        with _consistent_read(engine) as connection:
            number += connection.scalars(select(func.count()).select_from(accounts)).one()
            selected += resolve_accounts(connection, labels)
    if twice := [label for label in selected if selected.count(label) > 1]:
        raise ConfigError(
            f"the account {min(twice)} is in two of the databases, and a lake has one of each label; rename one of them"
        )
    return number


@contextmanager
def _consistent_read(engine: Engine) -> Iterator[Connection]:
    with translate_errors(), signals.deferred(), read_connection(engine, repeatable_read=True) as connection:
        require_schema(connection)
        yield connection


def fingerprint(url: URL) -> str:
    """A digest of a database's address, the same for every user of it."""
    address = (url.get_backend_name(), url.host or "", str(url.port or ""), url.database or "")
    return sha256("\n".join(address).encode()).hexdigest()[:16]


def _export_database(engine: Engine, lake: Lake, labels: tuple[str, ...], result: LakeExport) -> None:
    """Export the accounts of one database.

    Args:
        engine: The database.
        lake: The open lake. It is read before the database is, so that no revision of it is above the database's.
        labels: Labels to export; empty for all.
        result: Receives what is committed, also before a conflict.

    Raises:
        ConcurrentRunError: Another process changed the lake.
    """
    lake.refresh()
    database = fingerprint(engine.url)
    with _consistent_read(engine) as connection:
        states = _read_states(connection, lake, database, resolve_accounts(connection, labels))
        removed = []
        if not labels:
            whole = accounts.c.deletion_started_at.is_(None)
            known = connection.scalars(select(accounts.c.label).where(whole)).all()
            moved = {state.renamed_from for state in states}
            removed = [label for label in deleted_labels(lake.cursors(), database, known) if label not in moved]
        stale = [state for state in states if not state.is_current]
        for group in list(group_commits(stale)) or [[]]:
            _commit_group(connection, lake, group, removed, result)
            removed = []
        _record(result, [state for state in states if state.is_current])
        _export_numbering(connection, lake)


def _commit_group(
    connection: Connection, lake: Lake, group: Sequence[AccountState], removed: Sequence[str], result: LakeExport
) -> None:
    """Commit accounts together, without those whose rows are not those of the day ledger."""
    remaining = list(group)
    while remaining or removed:
        signals.raise_if_interrupted()
        try:
            rows = commit_accounts(lake, remaining, removed, _read_rows(connection, remaining), list(BILLING.columns))
        except LedgerMismatch as mismatch:
            result.refused[mismatch.label] = mismatch
            remaining = [state for state in remaining if state.label != mismatch.label]
            continue
        result.rows += rows
        result.removed += [*removed, *(state.renamed_from for state in remaining if state.renamed_from)]
        _record(result, remaining)
        break


def _record(result: LakeExport, states: Iterable[AccountState]) -> None:
    for state in states:
        before = result.accounts.get(state.label)
        days = len(state.changes) + (before.days if before else 0)
        result.accounts[state.label] = ExportedAccount(state.label, state.cursor.revision, days)
        result.refused.pop(state.label, None)


def _read_states(connection: Connection, lake: Lake, database: str, labels: Sequence[str]) -> list[AccountState]:
    """The accounts with their changes since the last export."""
    cursors = lake.cursors()
    column = accounts.c
    states = []
    for row in connection.execute(select(column.id, column.label, column.created_at).order_by(column.label)):
        if row.label not in labels:
            continue
        cursor = Cursor(database, row.id, row.created_at.isoformat(), read_revision(connection, row.id))
        before = cursors.get(row.label)
        known = continues(before, cursor)
        changes = read_changes(connection, row.id, before.revision if before and known else None)
        renamed_from = None if known else label_before(cursors, row.label, cursor)
        if renamed_from in labels:
            renamed_from = None  # another account has that label now, and is written from scratch
        states.append(AccountState(row.label, cursor, not known, changes, renamed_from))
    return states


def _read_rows(connection: Connection, states: Iterable[AccountState]) -> Iterator[Sequence[TextRow]]:
    """The rows of the changed days, in batches."""
    return chain.from_iterable(
        iter_batches(connection, ExportFilter((state.label,), days.first, days.last))
        for state in states
        for days in state.ranges()
    )


def _export_numbering(connection: Connection, lake: Lake) -> None:
    """Replace the table of the numbering plan if the plan is another one, unless the database has none."""
    columns = [numbering_ranges.c[name] for name in NUMBERING_COLUMNS]
    rows = [tuple(row) for row in connection.execute(select(*columns).order_by(numbering_ranges.c.first_phone))]
    digest = sha256(repr(rows).encode()).hexdigest()
    if rows and lake.numbering.properties.get(DIGEST_PROPERTY) != digest:
        replace_numbering(lake, rows, digest)
