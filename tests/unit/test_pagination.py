"""Fields that mark an answer as a part of the records."""

from __future__ import annotations

import io
import json

import pytest

from etl.extract.json_parser import parse_answer
from etl.extract.pagination import find_claims

LISTED = 7
DOCUMENTED = {"success": True, "error": "", "data": []}
PARTS = [
    {"has_more": True}, {"hasMore": 1}, {"truncated": "true"}, {"partial": True}, {"complete": False},
    {"is_last": False}, {"next": "https://vendor.example/?page=2"}, {"next_page": 2}, {"nextPageToken": "t"},
    {"next": {"href": "/2"}}, {"continuation": "t"}, {"total": 20}, {"totalCount": "20"}, {"recordsTotal": 20},
    {"remaining_records": 13}, {"limit": 7, "offset": 0}, {"per_page": 7}, {"page": 1, "pages": 2},
    {"current_page": 1, "last_page": 3}, {"page_count": 2}, {"meta": {"total": 20}},
    {"meta": {"pagination": {"next_cursor": "t"}}}, {"rest": [{"created_at": "2026-03-02", "phone": ""}]},
]  # fmt: skip
WHOLES = [
    {}, {"has_more": False}, {"hasMore": 0}, {"truncated": "false"}, {"complete": True}, {"next": None}, {"next": ""},
    {"next_page": False}, {"links": {"next": None, "self": "/1"}}, {"total": 7}, {"total": 0}, {"total": 12.5},
    {"remaining_records": 0}, {"remaining": 99}, {"next_update": "2026-03-03"}, {"rate": {"count": 90}},
    {"limit": 1000}, {"page": 2, "pages": 2}, {"current_page": 1, "last_page": 1},
    {"warnings": [{"text": "late"}]}, {"request_id": "t", "server_time": 1772409600}, {"balance": 25000},
]  # fmt: skip


@pytest.mark.parametrize("fields", PARTS, ids=json.dumps)
def test_a_field_of_a_paginated_api_marks_a_part(fields):
    assert find_claims(DOCUMENTED | fields, LISTED)


@pytest.mark.parametrize("fields", WHOLES, ids=json.dumps)
def test_other_fields_mark_no_part(fields):
    assert not find_claims(DOCUMENTED | fields, LISTED)


def test_a_claim_is_named_with_the_containers_of_its_field():
    fields = {"hasMore": True, "meta": {"Paging": {"nextPage": 2, "page": 1}}, "total": 7}
    assert find_claims(DOCUMENTED | fields, LISTED) == {"has_more", "meta.paging.next_page"}


@pytest.mark.parametrize("position", ["before", "after"])
def test_the_field_may_be_anywhere_in_the_answer(position):
    fields = {"data": [], "total": 1} if position == "after" else {"total": 1, "data": []}
    feed = parse_answer(io.BytesIO(json.dumps({"success": True, "error": ""} | fields).encode()))
    assert (list(feed.rows), feed.claims) == ([], {"total"})
