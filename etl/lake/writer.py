"""Writes the changed days of some accounts in one commit, together with the revisions that are reached.

The rows of these days are replaced, and the cursors are in the properties of the table: a kill before the commit
leaves data files that no snapshot names, and the next export writes the same days again.
"""

from __future__ import annotations

import shlex
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from etl import signals
from etl.amounts import exact_arithmetic
from etl.day_totals import LedgerTotals
from etl.errors import BillingError
from etl.lake.catalogue import CURSOR_PREFIX, Lake, cursor_property
from etl.lake.conflicts import translate_conflicts
from etl.lake.plan import AccountState, day_bounds_of
from etl.lake.schema import BILLING_COLUMNS, arrow_schema, billing_schema

if TYPE_CHECKING:
    from pyiceberg.expressions import BooleanExpression

ROWS_PER_FILE: Final = 250_000
DIGEST_PROPERTY: Final = "billing-etl.digest"
"""The property of the table `numbering` with the digest of its rows."""

TextRow = Sequence[str | None]
"""Values of the columns of the view `billing`, as texts."""


class LedgerMismatch(BillingError):
    """The rows of a day are not those of the day ledger. Nothing is committed.

    Attributes:
        label: Label of the account.
    """

    def __init__(self, label: str, day: date) -> None:
        super().__init__(
            f"the records of {day} do not add up to the day ledger, and nothing of {label} is exported; "
            f"billing-etl backfill --since {day} --until {day} --account {shlex.quote(label)} repairs it"
        )
        self.label = label


def commit_accounts(
    lake: Lake,
    accounts: Sequence[AccountState],
    removed: Sequence[str],
    batches: Iterable[Sequence[TextRow]],
    columns: Sequence[str],
) -> int:
    """Replace the changed days of some accounts, in one commit.

    Args:
        lake: The open lake.
        accounts: The accounts, with their changes.
        removed: Labels whose rows and cursors leave the lake.
        batches: The rows of the changed days, in any order.
        columns: Names of the columns of a row.

    Returns:
        The number of written rows.

    Raises:
        LedgerMismatch: The rows of an account are not those of the day ledger.
        ConcurrentRunError: Another process changed the table.
    """
    gone = [*removed, *filter(None, (account.renamed_from for account in accounts))]
    cursors: dict[str, str] = {}
    for account in accounts:
        cursors |= cursor_property(account.label, account.cursor)
    transaction = lake.billing.transaction()
    found: dict[tuple[str, date], list[Any]] = defaultdict(lambda: [0, Decimal(0)])
    written = 0
    with _first_rows_allowed():
        if lake.billing.current_snapshot() and (doomed := _rows_to_replace(accounts, gone)) is not None:
            transaction.delete(doomed)
        for rows in _tables(batches, columns):
            _add_totals(found, rows)
            transaction.append(rows)
            written += len(rows)
    _require_ledger(accounts, found)
    transaction.set_properties(cursors)
    if obsolete := {CURSOR_PREFIX + label for label in gone} - cursors.keys():
        transaction.remove_properties(*obsolete)
    with translate_conflicts():
        transaction.commit_transaction()
    return written


def replace_numbering(lake: Lake, ranges: Iterable[TextRow], digest: str) -> None:
    """Replace the table `numbering`, with the digest of its rows as a property.

    Raises:
        ConcurrentRunError: Another process changed the table.
    """
    import pyarrow as pa  # type: ignore[import-untyped]  # untyped, and part of an extra

    schema = arrow_schema(lake.numbering.schema())
    columns = list(zip(*ranges, strict=True)) or [()] * len(schema)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    transaction = lake.numbering.transaction()
    with _first_rows_allowed():
        transaction.overwrite(pa.Table.from_arrays(arrays, schema=schema))
    transaction.set_properties({DIGEST_PROPERTY: digest})
    with translate_conflicts():
        transaction.commit_transaction()


@contextmanager
def _first_rows_allowed() -> Iterator[None]:
    """Days that have no rows yet are not a reason for a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Delete operation did not match any records")
        yield


def _rows_to_replace(accounts: Sequence[AccountState], gone: Sequence[str]) -> BooleanExpression | None:
    from pyiceberg import expressions

    make: Any = expressions  # its constructors take positional arguments, which a type checker does not see
    whole = [*gone, *(account.label for account in accounts if account.from_scratch)]
    parts: list[BooleanExpression] = [make.In("account", whole)] if whole else []
    by_range: dict[tuple[date, date], list[str]] = defaultdict(list)  # most accounts change on the same days
    for account in accounts:
        if not account.from_scratch:
            for bounds in day_bounds_of(account.changes):
                by_range[bounds].append(account.label)
    parts += [
        make.And(
            make.In("account", labels),
            make.GreaterThanOrEqual("day", first.isoformat()),
            make.LessThanOrEqual("day", last.isoformat()),
        )
        for (first, last), labels in by_range.items()
    ]
    return _balanced(make.Or, parts) if parts else None


def _balanced(operator: Any, parts: Sequence[BooleanExpression]) -> BooleanExpression:
    """Combine expressions as a balanced tree: a chain of hundreds is too deep for the library's recursion."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    combined: BooleanExpression = operator(_balanced(operator, parts[:middle]), _balanced(operator, parts[middle:]))
    return combined


def _tables(batches: Iterable[Sequence[TextRow]], columns: Sequence[str]) -> Iterator[Any]:
    """Tables of pyarrow with about ROWS_PER_FILE rows: an append writes a file for each partition in it."""
    import pyarrow as pa

    schema = arrow_schema(billing_schema())
    positions = [columns.index(name) for name in BILLING_COLUMNS]
    parts: list[Any] = []
    for batch in batches:
        signals.raise_if_interrupted()
        values = list(zip(*batch, strict=True))
        texts = (pa.array(values[position], pa.string()) for position in positions)
        arrays = [text.cast(field.type) for text, field in zip(texts, schema, strict=True)]
        parts.append(pa.record_batch(arrays, schema))
        if sum(map(len, parts)) >= ROWS_PER_FILE:
            yield pa.Table.from_batches(parts)
            parts.clear()
    if parts:
        yield pa.Table.from_batches(parts)


def _add_totals(found: dict[tuple[str, date], list[Any]], rows: Any) -> None:
    totals = rows.group_by(["account", "day"]).aggregate([("repeats", "sum"), ("amount", "sum")])
    with exact_arithmetic():
        for line in totals.to_pylist():
            total = found[line["account"], line["day"]]
            total[0] += line["repeats_sum"]
            total[1] += line["amount_sum"]


def _require_ledger(accounts: Sequence[AccountState], found: Mapping[tuple[str, date], Sequence[Any]]) -> None:
    """Require that the rows of each changed day add up to the day ledger's totals."""
    for account in accounts:
        for change in account.changes:
            expected = LedgerTotals() if change.purged else LedgerTotals(change.records, change.spend)
            if tuple(found.get((account.label, change.day), LedgerTotals())) != expected:
                raise LedgerMismatch(account.label, change.day)
