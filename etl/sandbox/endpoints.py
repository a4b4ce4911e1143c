"""The vendor's documented calls, answered from a dataset under the current policies."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import astuple, dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl

from etl.sandbox.behaviour import Behaviour, FieldFormat
from etl.sandbox.dataset import FIELDS, FLASH_CALL, Dataset, seeded_random
from etl.sandbox.formats import csv_header, csv_lines, json_fragments, read_json
from etl.sandbox.responses import Response, error_response, json_response, json_text_response

PARAMETERS: Final = {
    "post_billing_data": None,
    "get_billing_csv": "start_date",
    "get_billing_record": "n",
    "get_balance": None,
    "get_status": "id",
}
"""The calls, with the name of their path parameter."""

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Request:
    """A received request, without the token; `action` is empty for an unknown call."""

    action: str
    params: dict[str, Any]


class ApiError(Exception):
    """An error that the vendor reports."""


def parse_request(method: str, path: list[str], body: bytes) -> Request:
    """Parse the path after the token, and the body, which is JSON or a form."""
    action, *arguments = [*path, ""]
    if action not in PARAMETERS or method != ("POST" if action == "post_billing_data" else "GET"):
        return Request("", {})
    if method == "POST":
        return Request(action, _parse_body(body))
    name = PARAMETERS[action]
    return Request(action, {name: arguments[0]} if name else {})


def shift_dates(request: Request, days: int, now: datetime) -> Request:
    """Shift the dates of a request back; an export, which has no end date, then ends `days` before today."""
    if not days or "start_date" not in request.params:
        return request
    dates = {"end_date": now.date().isoformat()} | request.params
    try:
        shifted = {name: (date.fromisoformat(day) - timedelta(days)).isoformat() for name, day in dates.items()}
    except (TypeError, ValueError):
        return request  # refused later
    return Request(request.action, shifted)


class Endpoints:
    """Answers requests. Encoded records are cached until the records or their format change."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._random = seeded_random("order")
        self._cache: dict[str, tuple[object, list[str]]] = {}

    def answer(self, request: Request, policies: Behaviour, now: datetime) -> Response:
        """Answer a request; `now` is the vendor's wall clock."""
        params = request.params
        try:
            match request.action:
                case "post_billing_data":
                    return self._billing_data(params, policies, now)
                case "get_billing_csv":
                    return self._billing_csv(params, policies)
                case "get_billing_record":
                    return self._last_records(_parse_number(params["n"]), policies)
                case "get_balance":
                    balance = {"balance": self._dataset.balance, "price": FLASH_CALL, "balance_limit": 0.0}
                    return json_response({"success": True, "error": "", "data": balance})
                case "get_status":
                    return self._status(_parse_number(params["id"]))
                case _:
                    return error_response("no such call", 404)
        except (ApiError, OverflowError) as error:
            return error_response(str(error))

    def _billing_data(self, params: dict[str, Any], policies: Behaviour, now: datetime) -> Response:
        start, end = _parse_date(params, "start_date"), _parse_date(params, "end_date")
        if end < start:
            raise ApiError("end_date is before start_date")
        _require_served(start, policies)
        if policies.refuse_future and end > (now + timedelta(hours=policies.zone_offset_hours)).date():
            raise ApiError("end_date is in the future")
        day_after = end + timedelta(days=policies.end_date == "inclusive")
        fragments = self._slice(self._fragments(policies), start, day_after, policies)
        return _records_response(fragments[: policies.json_limit])

    def _billing_csv(self, params: dict[str, Any], policies: Behaviour) -> Response:
        csv_format = policies.csv
        start = _parse_date(params, "start_date")
        _require_served(start, policies)
        end = _parse_date(params, "end_date") if "end_date" in params else date.max
        lines = self._encoded("csv", csv_format, lambda: csv_lines(self._dataset.records, csv_format))
        lines = self._slice(lines, start, end, policies)[: policies.csv_limit]
        body = "".join(csv_header(csv_format) + lines).encode(csv_format.encoding, "replace")
        headers = {"Content-Type": "text/csv", "Content-Disposition": 'attachment; filename="billing.csv"'}
        return Response(body, 200, headers)

    def _last_records(self, count: int, policies: Behaviour) -> Response:
        if not 1 <= count <= 100:
            raise ApiError("the number of records is from 1 to 100")
        return _records_response(self._fragments(policies)[-count:][::-1])

    def _status(self, record_id: int) -> Response:
        records = self._dataset.records
        if not 1 <= record_id <= len(records):
            raise ApiError("id record not found")
        record = records[record_id - 1]
        fields = {name: record.get(name) for name in FIELDS if name != "code_auth"}
        return json_response({"success": True, "error": "", "data": {"id": record_id, **fields}})

    def _fragments(self, policies: Behaviour) -> list[str]:
        return self._encoded("json", policies.json, lambda: json_fragments(self._dataset.records, policies.json))

    def _encoded(self, kind: str, field_format: FieldFormat, encode: Callable[[], list[str]]) -> list[str]:
        key = (self._dataset.version, astuple(field_format))
        if kind not in self._cache or self._cache[kind][0] != key:
            self._cache[kind] = (key, encode())
        return self._cache[kind][1]

    def _slice(self, texts: list[str], start: date, end: date, policies: Behaviour) -> list[str]:
        """Select the encoded records from `start` up to, but not including, `end`, in the vendor's order."""
        offset = timedelta(hours=policies.zone_offset_hours)
        start_time, end_time = (datetime.combine(day, time.min) - offset for day in (start, end))
        selected = self._dataset.select(texts, start_time, end_time)
        if policies.order == "descending":
            selected.reverse()
        elif policies.order == "shuffled":
            self._random.shuffle(selected)
        return selected


def _records_response(fragments: list[str]) -> Response:
    return json_text_response('{"success": true, "error": "", "data": [' + ", ".join(fragments) + "]}")


def _parse_body(body: bytes) -> dict[str, Any]:
    text = body.decode("utf-8", "replace")
    try:
        fields = read_json(text)
    except ValueError:
        return dict(parse_qsl(text))
    return fields if isinstance(fields, dict) else {}


def _require_served(start: date, policies: Behaviour) -> None:
    if policies.first_day is not None and start < date.fromisoformat(policies.first_day):
        raise ApiError("start_date is too early")


def _parse_date(params: dict[str, Any], name: str) -> date:
    text = params.get(name)
    if isinstance(text, str) and _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
    raise ApiError(f"{name} is a date, YYYY-MM-DD")


def _parse_number(text: str) -> int:
    """Parse a number; 0, which every call refuses, for anything else."""
    return int(text) if _NUMBER.fullmatch(text) else 0
