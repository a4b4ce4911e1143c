"""Export to a lake: what changed since the last export, each database in one consistent read."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import chain
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, select

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
        accounts: The accounts of the lake that were looked at.
        rows: Number of written rows.
        removed: Labels of accounts that left the lake, because they were renamed or deleted.
        refused: Accounts whose rows are not those of the day ledger: nothing of them is exported.
        expired_files: Number of deleted files of old snapshots; None unless any were to be expired.
    """

    accounts: list[ExportedAccount] = field(default_factory=list)
    rows: int = 0
    removed: list[str] = field(default_factory=list)
    refused: list[LedgerMismatch] = field(default_factory=list)
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
        catalogue: As in `open_lake`.
        expire: Age from which on snapshots are removed with their files; None keeps them.
        now: The present time, aware; None for that of the clock.

    Raises:
        ConfigError: Unknown account, a library is not installed, or the lake cannot be opened.
        DatabaseError: A database cannot be read, or has the schema of another version.
        ConcurrentRunError: Another export writes to the lake.
        DiskFullError: The disk is full.
    """
    by_database: dict[URL, list[str]] = {}
    for settings in all_settings:
        by_database.setdefault(settings.database_url, []).append(settings.account)
    with ExitStack() as engines, _files_of(folder):
        databases = {engines.enter_context(pooled_engine(url)): known for url, known in by_database.items()}
        for engine in databases:
            require_database(engine)
        return _export(databases, labels, open_lake(folder, catalogue), expire, now or utc_now())


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
    lake: Lake,
    expire: timedelta | None,
    now: datetime,
) -> LakeExport:
    result = LakeExport()
    for engine, configured in databases.items():
        chosen = tuple(label for label in configured if label in labels)
        with translate_errors(), signals.deferred(), read_connection(engine, repeatable_read=True) as connection:
            require_schema(connection)
            _export_database(connection, lake, fingerprint(engine.url), chosen, result)
    if expire is not None:
        result.expired_files = sum(expire_snapshots(table, now - expire) for table in (lake.billing, lake.numbering))
    return result


def fingerprint(url: URL) -> str:
    """A digest of a database's address, the same for every user of it."""
    address = (url.get_backend_name(), url.host or "", str(url.port or ""), url.database or "")
    return sha256("\n".join(address).encode()).hexdigest()[:16]


def _export_database(
    connection: Connection, lake: Lake, database: str, labels: tuple[str, ...], result: LakeExport
) -> None:
    states = _read_states(connection, lake, database, resolve_accounts(connection, labels))
    if twice := {state.label for state in states} & {account.label for account in result.accounts}:
        raise ConfigError(
            f"the account {min(twice)} is in two of the databases, and a lake has one of each label; rename one of them"
        )
    removed = []
    if not labels:
        known = connection.scalars(select(accounts.c.label)).all()
        moved = {state.renamed_from for state in states}
        removed = [label for label in deleted_labels(lake.cursors(), database, known) if label not in moved]
    result.removed += [*removed, *(state.renamed_from for state in states if state.renamed_from)]
    stale = [state for state in states if not state.is_current]
    groups = list(group_commits(stale)) or ([[]] if removed else [])
    refused = set()
    for group in groups:
        remaining = group
        while remaining or removed:
            signals.raise_if_interrupted()
            try:
                result.rows += commit_accounts(
                    lake, remaining, removed, _read_rows(connection, remaining), list(BILLING.columns)
                )
            except LedgerMismatch as mismatch:
                result.refused.append(mismatch)
                refused.add(mismatch.label)
                remaining = [state for state in remaining if state.label != mismatch.label]
                continue
            removed = []
            break
    result.accounts += [
        ExportedAccount(state.label, state.cursor.revision, len(state.changes))
        for state in states
        if state.label not in refused
    ]
    _export_numbering(connection, lake)


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
