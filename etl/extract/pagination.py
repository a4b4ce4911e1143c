"""Fields with which paginated APIs mark an answer that does not list all records. Pure.

The vendor documents none of them, and no pages. That their names have the usual meaning is assumed. An answer with such
a field counts as truncated, unless `claims` finds that it has another meaning: a wrong assumption costs requests, and
no record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from etl.model import ALL_FIELDS

_HAS_MORE: Final = frozenset({
    "has_more", "has_next", "has_next_page", "more", "more_available", "more_records", "truncated", "is_truncated",
    "partial", "is_partial", "incomplete", "is_incomplete",
})  # fmt: skip
_IS_ALL: Final = frozenset({"complete", "is_complete", "last", "is_last", "is_last_page", "finished"})
_TOTALS: Final = frozenset({
    "total", "total_count", "total_records", "total_items", "total_rows", "count", "record_count", "records_count",
    "row_count", "items_count", "records_total", "found",
})  # fmt: skip
_REMAINING: Final = frozenset({"remaining_records", "remaining_count", "remaining_items"})
_NEXT: Final = frozenset({
    "next", "next_page", "next_page_url", "next_page_token", "next_url", "next_link", "next_href", "next_cursor",
    "next_token", "next_offset", "continuation", "continuation_token",
})  # fmt: skip
_PAGE_SIZES: Final = frozenset({"limit", "page_size", "per_page", "max_records", "max_results"})
_PAGES: Final = frozenset({"pages", "total_pages", "last_page", "page_count", "pages_count", "num_pages"})
_PAGE: Final = ("page", "current_page", "page_number", "page_no")
_CONTAINERS: Final = frozenset({"meta", "_meta", "metadata", "pagination", "paging", "page_info", "links", "_links"})
"""Fields with an object that may have the other fields."""


def find_claims(envelope: Mapping[str, Any], listed: int) -> frozenset[str]:
    """Find the fields of an answer by which it claims that it does not list all records.

    Args:
        envelope: The answer without the records that were read.
        listed: Number of those records.

    Returns:
        Their names in snake case, after those of the containers that they are in.
    """
    fields = {_snake_case(name): value for name, value in envelope.items() if name != "data"}
    return frozenset(
        prefix + name for prefix, each in _with_containers(fields, "") for name in _claiming_fields(each, listed)
    )


def _with_containers(fields: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The fields of an object, and those of its containers, in snake case."""
    yield prefix, fields
    for name, value in fields.items():
        if name in _CONTAINERS and isinstance(value, Mapping):
            inner = {_snake_case(inner): item for inner, item in value.items()}
            yield from _with_containers(inner, f"{prefix}{name}.")


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[\s.-]+", "_", name.strip()[:100]).casefold()


def _claiming_fields(fields: Mapping[str, Any], listed: int) -> Iterator[str]:
    page = next((number for name in _PAGE if (number := _whole(fields.get(name))) is not None), 1)
    for name, value in fields.items():
        number = _whole(value)
        if (
            (name in _HAS_MORE and _is_true(value))
            or (name in _IS_ALL and _is_false(value))
            or (name in _NEXT and bool(value) and not _is_false(value))
            or (number is not None and name in _TOTALS and number > listed)
            or (number is not None and name in _REMAINING and number > 0)
            or (number is not None and name in _PAGE_SIZES and number == listed)
            or (number is not None and name in _PAGES and number > page)
            or (isinstance(value, list) and any(map(_is_record, value)))
        ):
            yield name


def _whole(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal():
        return int(value[:18])
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_true(value: Any) -> bool:
    return value is True or str(value).casefold() in {"1", "true", "yes"}


def _is_false(value: Any) -> bool:
    return value is False or str(value).casefold() in {"0", "false", "no"}


def _is_record(item: Any) -> bool:
    """Whether an item of another list of the answer has the key of a record."""
    return isinstance(item, Mapping) and len(ALL_FIELDS & item.keys()) > 1
