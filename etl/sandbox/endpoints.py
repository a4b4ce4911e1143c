"""The vendor's documented calls, answered from a dataset under the policies of the moment."""

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
"""The calls, each with the name of what stands in its path."""

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Request:
    """A call as it came in, without the token. `action` is empty where there is no such call."""

    action: str
    params: dict[str, Any]


class ApiError(Exception):
    """The vendor says no."""


def parse_request(method: str, path: list[str], body: bytes) -> Request:
    """Understand the path after the token; the body is JSON or a form."""
    action, *rest = [*path, ""]
    if action not in PARAMETERS or method != ("POST" if action == "post_billing_data" else "GET"):
        return Request("", {})
    if method == "POST":
        return Request(action, _fields(body))
    name = PARAMETERS[action]
    return Request(action, {name: rest[0]} if name else {})


def shift_dates(request: Request, days: int, now: datetime) -> Request:
    """The question as it would have been so many days ago; of the export, which then ended that day, too."""
    if not days or "start_date" not in request.params:
        return request
    dates = {"end_date": now.date().isoformat()} | request.params
    try:
        moved = {name: (date.fromisoformat(day) - timedelta(days)).isoformat() for name, day in dates.items()}
    except (TypeError, ValueError):
        return request  # it is refused as it stands
    return Request(request.action, moved)


class Endpoints:
    """Answers requests. Records are written once and kept until they, or their spelling, change."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._random = seeded_random("order")
        self._written: dict[str, tuple[object, list[str]]] = {}

    def answer(self, request: Request, policies: Behaviour, now: datetime) -> Response:
        """Answer as the vendor would; `now` is its wall clock."""
        params = request.params
        try:
            match request.action:
                case "post_billing_data":
                    return self._billing_data(params, policies, now)
                case "get_billing_csv":
                    return self._billing_csv(params, policies)
                case "get_billing_record":
                    return self._last_records(_number(params["n"]), policies)
                case "get_balance":
                    balance = {"balance": self._dataset.balance, "price": FLASH_CALL, "balance_limit": 0.0}
                    return json_response({"success": True, "error": "", "data": balance})
                case "get_status":
                    return self._status(_number(params["id"]))
                case _:
                    return error_response("no such call", 404)
        except (ApiError, OverflowError) as error:
            return error_response(str(error))

    def _billing_data(self, params: dict[str, Any], policies: Behaviour, now: datetime) -> Response:
        first, end = _date(params, "start_date"), _date(params, "end_date")
        if end < first:
            raise ApiError("end_date is before start_date")
        _require_served(first, policies)
        if policies.refuse_future and end > (now + timedelta(hours=policies.zone_offset_hours)).date():
            raise ApiError("end_date is in the future")
        before = end + timedelta(days=policies.end_date == "inclusive")
        fragments = self._span(self._fragments(policies), first, before, policies)
        return _records(fragments[: policies.json_limit])

    def _billing_csv(self, params: dict[str, Any], policies: Behaviour) -> Response:
        form = policies.csv
        first = _date(params, "start_date")
        _require_served(first, policies)
        before = _date(params, "end_date") if "end_date" in params else date.max
        lines = self._write("csv", form, lambda: csv_lines(self._dataset.records, form))
        lines = self._span(lines, first, before, policies)[: policies.csv_limit]
        body = "".join(csv_header(form) + lines).encode(form.encoding, "replace")
        headers = {"Content-Type": "text/csv", "Content-Disposition": 'attachment; filename="billing.csv"'}
        return Response(body, 200, headers)

    def _last_records(self, count: int, policies: Behaviour) -> Response:
        if not 1 <= count <= 100:
            raise ApiError("the number of records is from 1 to 100")
        return _records(self._fragments(policies)[-count:][::-1])

    def _status(self, number: int) -> Response:
        records = self._dataset.records
        if not 1 <= number <= len(records):
            raise ApiError("id record not found")
        record = records[number - 1]
        known = {name: record.get(name) for name in FIELDS if name != "code_auth"}
        return json_response({"success": True, "error": "", "data": {"id": number, **known}})

    def _fragments(self, policies: Behaviour) -> list[str]:
        return self._write("json", policies.json, lambda: json_fragments(self._dataset.records, policies.json))

    def _write(self, kind: str, form: FieldFormat, write: Callable[[], list[str]]) -> list[str]:
        key = (self._dataset.version, astuple(form))
        if kind not in self._written or self._written[kind][0] != key:
            self._written[kind] = (key, write())
        return self._written[kind][1]

    def _span(self, texts: list[str], first: date, before: date, policies: Behaviour) -> list[str]:
        """Choose the texts of the records of these days, as the vendor cuts and orders them."""
        offset = timedelta(hours=policies.zone_offset_hours)
        start, end = (datetime.combine(day, time.min) - offset for day in (first, before))
        chosen = self._dataset.select(texts, start, end)
        if policies.order == "descending":
            chosen.reverse()
        elif policies.order == "shuffled":
            self._random.shuffle(chosen)
        return chosen


def _records(fragments: list[str]) -> Response:
    return json_text_response('{"success": true, "error": "", "data": [' + ", ".join(fragments) + "]}")


def _fields(body: bytes) -> dict[str, Any]:
    text = body.decode("utf-8", "replace")
    try:
        fields = read_json(text)
    except ValueError:
        return dict(parse_qsl(text))
    return fields if isinstance(fields, dict) else {}


def _require_served(first: date, policies: Behaviour) -> None:
    if policies.first_day is not None and first < date.fromisoformat(policies.first_day):
        raise ApiError("start_date is too early")


def _date(params: dict[str, Any], name: str) -> date:
    text = params.get(name)
    if isinstance(text, str) and _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
    raise ApiError(f"{name} is a date, YYYY-MM-DD")


def _number(text: str) -> int:
    """Read a number; what is none is 0, which every call refuses."""
    return int(text) if _NUMBER.fullmatch(text) else 0
