"""Freedoms: behaviours that the vendor's documentation leaves open, and events of an account.

Each freedom is drawn with its own random numbers. Their names are the values of `--without`, and stand in the
description of a failure. Freedoms with the prefix `json_` or `csv_` belong to one source; they are independent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from simulation.spelling import FIELDS


@dataclass(frozen=True, slots=True)
class Freedom:
    """One freedom.

    Attributes:
        draw: Draws its value for one vendor.
        at_least: Minimum share of vendors that have it, whatever their number of freedoms.
        passing: It ends when the vendor recovers, some nights before the end.
        simpler: Values that the shrinker tries, the simplest first.
    """

    draw: Callable[[Random], Any]
    at_least: float = 0.0
    passing: bool = False
    simpler: tuple[Any, ...] = ()


def _any_of(*values: Any, **options: Any) -> Freedom:
    return Freedom(lambda numbers: numbers.choice(values), **options)


def _share(low: float, high: float, **options: Any) -> Freedom:
    return Freedom(lambda numbers: round(numbers.uniform(low, high), 3), **options)


def _limit(numbers: Random) -> dict[str, Any]:
    size = numbers.choice((numbers.randrange(10, 60), numbers.randrange(10, 300), numbers.choice(_ROUND)))
    return {"size": size, "keeps": numbers.choice(("oldest", "newest", "any"))}


def _days_limit(numbers: Random) -> dict[str, Any]:
    return {"days": numbers.choice((4, 5, 7, 10, 14, 30)), "keeps": numbers.choice(("first", "first", "last"))}


_ROUND = (10, 20, 25, 50, 64, 99, 100, 150, 200, 250, 255, 256, 500, 999, 1000, 1024, 5000, 65535)


def _daily_limit(numbers: Random) -> dict[str, Any]:
    return {"size": numbers.randrange(10, 60), "keeps": numbers.choice(("oldest", "newest"))}


def _largest_request(numbers: Random) -> dict[str, int]:
    """The size from which on requests are rejected, in days or in records."""
    if numbers.random() < 0.5:
        return {"days": numbers.choice((1, 2, 3, 4, 7, 10, 31))}
    return {"records": numbers.choice((numbers.randrange(10, 60), numbers.randrange(10, 300)))}


def _times(numbers: Random, nights: int = 8) -> list[int]:
    """The first night of an event and the night after its last."""
    first = numbers.randrange(nights)
    return [first, first + numbers.choice((1, 1, 2, 3, 99))]


def _outage(numbers: Random) -> dict[str, Any]:
    return {"nights": _times(numbers), "share": numbers.choice((1.0, 1.0, 0.5, 0.2)), "kind": numbers.choice(FAULTS)}


FAULTS = ("503", "timeout", "broken", "html", "empty", "success_false", "null", "400")


UNREADABLE = ("price", "price", "no_price", "status", "time", "time", "no_time", "list")


def _unreadable(numbers: Random) -> dict[str, Any]:
    return {
        "field": numbers.choice(UNREADABLE),
        "scope": numbers.choice(("records", "records", "days", "all")),
        "share": round(numbers.uniform(0.02, 0.5), 3),
        "nights": _times(numbers),
    }


def _hidden(numbers: Random) -> dict[str, Any]:
    return {"share": round(numbers.uniform(0.05, 0.5), 3), "nights": _times(numbers)}


def _window(numbers: Random) -> int:
    """Days a request, mostly so many that a night has one: each window is a transaction, the most expensive part."""
    return numbers.choice((10, 31)) if numbers.random() < 0.8 else numbers.choice((1, 2, 3, 5))


_ORDERS = ("ascending", "descending", "shuffled")
_TIMES = ("space", "fraction", "dotted", "offset", "utc")
_PHONES = ("7", "+7", "ten", "brackets", "number")
_PRICES = ("string", "padded", "noise", "comma")

FREEDOMS: dict[str, Freedom] = {
    # The account.
    "volume": Freedom(
        lambda numbers: round(numbers.choice((1, 2, 2, 4, 4, 8, 8, 15, 40, 90)) * numbers.uniform(0.5, 1.5), 1),
        0.7,
        simpler=(2, 5),
    ),
    "level": _any_of(True),
    "growth": _share(1.01, 1.15),
    "quiet_days": _share(0.1, 0.9, at_least=0.15),
    "three_records": _any_of(True),
    "busy_days": _any_of(3, 10),
    "repeats": _share(0.02, 0.3),
    "siblings": _share(0.02, 0.3),
    "odd_keys": _share(0.1, 0.6),
    "odd_texts": _share(0.1, 0.6),
    "long_texts": _any_of(2_000, 9_000),
    "free_records": _share(0.1, 0.5),
    "refunds": _share(0.05, 0.3),
    "large_prices": _share(0.05, 0.3),
    "late_records": _share(0.02, 0.3),
    "corrections": _share(0.02, 0.4),
    "withdrawals": _share(0.01, 0.06),
    "emptied_days": Freedom(_hidden, passing=True),
    # The settings.
    "window": Freedom(_window, at_least=0.8, simpler=(7,)),
    "lookback": _any_of(1, 2, 3, 5, 14, at_least=0.3, simpler=(7,)),
    "history": _any_of(0, 1, 2, 8, 15, 25, at_least=0.4, simpler=(2, 5)),
    "default_start": _any_of(True),
    "zone": _any_of("Europe/Berlin", "Asia/Vladivostok", "America/New_York", "UTC"),
    "hour": _any_of(0, 1, 9, 14, 23, at_least=0.3),
    "missed_nights": _any_of(True),
    "backfill_first": _any_of(True),
    "backfills": _share(0.1, 0.5),
    "deep": _share(0.1, 0.5),
    # Dates.
    "end_excluded": _any_of(True, at_least=0.2),
    "cut_zone": _any_of(-15, -10, -3, 2, 5, 9, 11, at_least=0.2, simpler=(-3, 5)),
    "csv_cut_zone": _any_of(-15, -3, 5, 11),
    "refuses_future": _any_of(True),
    "contract": _any_of(0),
    "later_contract": _any_of(1, 4),
    "retention": _any_of(20, 30, 45),
    "arrivals": _any_of(20, 600, 3_600),
    # Limits and order.
    "json_limit": Freedom(_limit, passing=True),
    "csv_limit": Freedom(_limit, passing=True),
    "json_order": _any_of(*_ORDERS),
    "csv_order": _any_of(*_ORDERS),
    "newest_order": _any_of(*_ORDERS),
    "newest_arrived": _any_of(True),
    "newest_down": Freedom(_outage),
    "balance_down": Freedom(_outage),
    # Formats.
    "json_time": _any_of(*_TIMES),
    "json_phone": _any_of(*_PHONES, "float"),
    "json_code": _any_of("number", "null", "float"),
    "json_status": _any_of("string", "bool", "float"),
    "json_price": _any_of(*_PRICES, "noise32"),
    "json_info": _any_of("null"),
    "json_extra": _any_of(True),
    "json_mixed": _any_of(True),
    "json_layout": _any_of("indented", "reversed", "bom"),
    "json_ascii": _any_of(True),
    "csv_time": _any_of(*_TIMES),
    "csv_phone": _any_of(*_PHONES, "float", "comma_float", "formula", "apostrophe"),
    "csv_code": _any_of("number", "float", "comma_float", "formula", "apostrophe"),
    "csv_status": _any_of("string", "bool", "float"),
    "csv_price": _any_of(*_PRICES, "noise32", "spaces"),
    "csv_nothing": _any_of("NULL", "\\N", "None"),
    "csv_extra": _any_of(True),
    "csv_mixed": _any_of(True),
    "csv_lacks": _any_of(["status"], ["status_info"], ["status", "status_info"]),
    "respells": Freedom(lambda numbers: {"nights": _times(numbers)}),
    "csv_delimiter": _any_of(",", "\t"),
    "csv_header": _any_of("russian", "none"),
    "csv_columns": Freedom(lambda numbers: numbers.sample(FIELDS, len(FIELDS))),
    "csv_encoding": _any_of("utf-8-sig", "cp1251", "utf-16"),
    "csv_decimal": _any_of(","),
    "csv_quotes": _any_of("all", "none"),
    "csv_newline": _any_of("\n"),
    "csv_trailing": _any_of(True),
    # Unreadable values.
    "json_scientific": _any_of("scientific", passing=True),
    "csv_scientific": _any_of("scientific", "rounded", passing=True),
    "csv_minutes": _any_of(True, passing=True),
    "json_thousands": _any_of(True, passing=True),
    "csv_thousands": _any_of(True, passing=True),
    "json_unreadable": Freedom(_unreadable, passing=True),
    "csv_unreadable": Freedom(_unreadable, passing=True),
    "json_doubled": Freedom(
        lambda numbers: {"share": numbers.choice((0.02, 0.2)), "nights": _times(numbers)}, passing=True
    ),
    # Missing records, and outages.
    "json_hides": Freedom(_hidden, passing=True),
    "csv_hides": Freedom(_hidden, passing=True),
    "json_lags": _any_of(600, 3_600, 21_600, 86_400, passing=True),
    "csv_lags": _any_of(600, 3_600, 21_600, 86_400, passing=True),
    "json_outage": Freedom(_outage, passing=True),
    "csv_outage": Freedom(_outage, passing=True),
    "token_refused": Freedom(lambda numbers: {"nights": _times(numbers)}, passing=True),
    # New freedoms are added at the end: vendors without them do not change.
    "autumn": _any_of(True),
    "huge_texts": _share(0.005, 0.05),
    "json_days": Freedom(_days_limit, passing=True),
    "csv_days": Freedom(_days_limit, passing=True),
    # Every so many records there is a row that counts towards a limit and is not listed.
    "json_unlisted": _any_of(3, 5, 10, 20, passing=True),
    "csv_unlisted": _any_of(3, 5, 10, 20, passing=True),
    "json_refuses": Freedom(_largest_request, passing=True),
    "csv_refuses": Freedom(_largest_request, passing=True),
    "json_fails": Freedom(_largest_request, passing=True),
    "json_denies": _any_of("404", "400", "object"),
    "csv_denies": _any_of("404", "400"),
    # A limit leaves a random part of an answer, in order.
    "json_sampled": _any_of(True),
    "csv_sampled": _any_of(True),
    # A limit on the records of each day.
    "json_daily": Freedom(_daily_limit, passing=True),
}
