"""Channels of records: their numbers, the classification of new rows, and that of days stored under other rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import starmap
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, and_, bindparam, case, func, insert, literal_column, or_, select, update

from etl.amounts import exact_arithmetic
from etl.channels import UNKNOWN, ChannelRules, Evidence
from etl.day_totals import ChannelTotals
from etl.db.day_conditions import IS_PURGED
from etl.db.tables import billing_records, synced_days
from etl.db.tables import channels as channel_names
from etl.model import DELIVERED, RecordColumns, day_bounds
from etl.pii import ERASED

MAX_RECORDS_AT_ONCE: Final = 50_000
"""Records of a day from which its hours are classified one by one."""
_HOUR: Final = timedelta(hours=1)


class Kind(NamedTuple):
    """The fields that determine the channel of a record and its part in the totals; a day has few kinds of records.

    Attributes:
        has_code: None for an erased record, as in Evidence.
    """

    status_info: str
    price: Decimal
    has_code: bool | None
    status: int | None


@dataclass(frozen=True, slots=True)
class Channels:
    """The rules of an account, and the numbers of its channels.

    Attributes:
        numbers: `channels.id` by name.
    """

    rules: ChannelRules
    numbers: Mapping[str, int]

    def number_of(self, record: Evidence) -> int:
        """The number of a record's channel."""
        return self.numbers[self.rules.classify(record)]


def load_channels(connection: Connection, rules: ChannelRules) -> Channels:
    """Read the numbers of the channels of some rules, and insert the channels that have none.

    Raises:
        IntegrityError: Another transaction inserted one at the same time.
    """
    known = {row.name: row.id for row in connection.execute(select(channel_names.c.name, channel_names.c.id))}
    for name in rules.names():
        if name not in known:
            known[name] = max(known.values(), default=0) + 1
            connection.execute(insert(channel_names).values(id=known[name], name=name))
    return Channels(rules, known)


class _KindNumbers(dict[tuple[str, Decimal, bool | None, int | None], int]):
    """Numbers the kinds of records by first occurrence, from 0."""

    def __missing__(self, kind: tuple[str, Decimal, bool | None, int | None]) -> int:
        number = self[kind] = len(self)
        return number


def group_by_kind(columns: RecordColumns) -> tuple[list[int], list[Kind]]:
    """The number of each record's kind, and the kinds in the order of their numbers."""
    _, phones, codes, statuses, infos, prices = columns
    has_code: Iterable[bool | None] = map(bool, codes) if "" in codes else [True] * len(codes)
    if ERASED in phones:
        has_code = (None if phone == ERASED else bool(code) for phone, code in zip(phones, codes, strict=True))
    numbers = _KindNumbers()
    kind_of = list(map(numbers.__getitem__, zip(infos, prices, has_code, statuses, strict=True)))
    return kind_of, list(starmap(Kind, numbers))


def total_by_channel(
    kind_of: Sequence[int], kinds: Sequence[Kind], channel_of: Sequence[int], repeats: Sequence[int]
) -> list[ChannelTotals]:
    """Totals of the records that `group_by_kind` grouped.

    Args:
        kind_of: The number of each record's kind.
        kinds: The kinds.
        channel_of: The channel of each kind.
        repeats: The repeats of each record.
    """
    counts = Counter(kind_of)
    if sum(repeats) != len(repeats):
        for number, count in zip(kind_of, repeats, strict=True):
            counts[number] += count - 1
    return add_by_channel(
        ChannelTotals(channel, counts[number], counts[number] * (kind.status == DELIVERED), kind.price * counts[number])
        for number, (kind, channel) in enumerate(zip(kinds, channel_of, strict=True))
    )


def add_by_channel(parts: Iterable[ChannelTotals]) -> list[ChannelTotals]:
    """The sums of totals by channel, in order."""
    sums: dict[int, ChannelTotals] = {}
    with exact_arithmetic():
        for part in parts:
            known = sums.get(part.channel, ChannelTotals(part.channel, 0, 0, Decimal(0)))
            sums[part.channel] = ChannelTotals(
                part.channel, known.records + part.records, known.delivered + part.delivered, known.spend + part.spend
            )
    return [sums[channel] for channel in sorted(sums)]


def find_unclassified(connection: Connection, account_id: int | None, rules: ChannelRules) -> dict[date, int]:
    """Days that were not classified by these rules, in order, with their number of records; no purged days."""
    day = synced_days.c
    outdated = or_(day.channel_rules.is_(None), day.channel_rules != rules.digest)
    query = select(day.day, day.records).where(day.account_id == account_id, ~IS_PURGED, outdated)
    return {row.day: row.records for row in connection.execute(query.order_by(day.day))}


def classify_day(
    connection: Connection, account_id: int, day: date, records: int, channels: Channels, now: datetime
) -> int:
    """Classify the stored rows of a day, withdrawn ones included; return how many of them changed.

    An erased row keeps the channel that it had: what it depended on is gone.

    Args:
        connection: Connection in a transaction that holds the account's fence.
        account_id: `accounts.id`.
        day: The day.
        records: Its number of records; a large day is read in parts.
        channels: The rules of the account.
        now: Time of the change.
    """
    changed = sum(
        _classify_slice(connection, account_id, since, until, channels, now) for since, until in _slices(day, records)
    )
    column = synced_days.c
    connection.execute(
        update(synced_days)
        .where(column.account_id == account_id, column.day == day)
        .values(channel_rules=channels.rules.digest)
    )
    return changed


def _slices(day: date, records: int) -> Iterator[tuple[datetime, datetime]]:
    start, end = day_bounds(day)
    if records <= MAX_RECORDS_AT_ONCE:
        yield start, end
    else:
        yield from ((start + _HOUR * hour, start + _HOUR * (hour + 1)) for hour in range(24))


def _classify_slice(
    connection: Connection, account_id: int, since: datetime, until: datetime, channels: Channels, now: datetime
) -> int:
    row = billing_records.c
    # Not a parameter: PostgreSQL would not recognise the expression in GROUP BY.
    has_code = case((row.code_auth == literal_column("''"), 0), else_=1)
    within = and_(row.account_id == account_id, row.created_at >= since, row.created_at < until)
    kinds = connection.execute(
        select(row.status_info, row.price, has_code, row.channel, func.min(row.created_at), func.max(row.created_at))
        .where(within, row.phone != ERASED)
        .group_by(row.status_info, row.price, has_code, row.channel)
    ).all()
    changes: list[dict[str, Any]] = []
    for status_info, price, with_code, stored, first, last in kinds:
        channel = channels.number_of(Evidence(status_info, price, bool(with_code)))
        if channel != stored:
            changes.append(
                {
                    "in_text": status_info, "in_price": price, "in_code": with_code, "first": first, "last": last,
                    "channel": channel, "updated_at": now,
                }
            )  # fmt: skip
    first, last = (bindparam(name, type_=row.created_at.type) for name in ("first", "last"))
    of_kind = and_(
        row.account_id == account_id,
        row.created_at.between(first, last),  # a text of a single row does not search the whole slice
        row.status_info == bindparam("in_text", type_=row.status_info.type),
        row.price == bindparam("in_price", type_=row.price.type),
        has_code == bindparam("in_code"),
        row.phone != ERASED,
    )
    values: dict[str, Any] = {"channel": bindparam("channel"), "updated_at": bindparam("updated_at")}
    classify = update(billing_records).where(of_kind).values(values)
    changed = sum(connection.execute(classify, change).rowcount for change in changes)
    erased = update(billing_records).where(within, row.phone == ERASED, row.channel.is_(None))
    return changed + connection.execute(erased.values(channel=channels.numbers[UNKNOWN], updated_at=now)).rowcount
