"""The sandbox: data, calls, policies, faults and the admin API."""

from __future__ import annotations

import ast
import json
import re
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from contextlib import closing
from datetime import date, datetime, timedelta
from datetime import time as clock_time
from decimal import Decimal
from http.client import HTTPConnection
from pathlib import Path

import pytest
import requests

from etl.sandbox import DEFAULT_TOKEN, Behaviour, Dataset, Sandbox

at = datetime.fromisoformat

TODAY = date(2026, 3, 10)
NOW = at("2026-03-10T14:30")
HOME = Path(__file__).parents[2]

DOCUMENTED = {
    "created_at": "2021-12-29T14:06:51",
    "code_auth": "0371",
    "status": 1,
    "status_info": "ok",
    "phone": "89243555100",
    "price": Decimal("0.2"),
}


def made(created_at, **values):
    return DOCUMENTED | {"created_at": created_at} | values


@pytest.fixture
def sandbox():
    with Sandbox(dataset=Dataset(seed=1, today=TODAY, days=10), now=NOW) as running:
        yield running


@pytest.fixture
def session():
    with requests.Session() as opened:
        opened.trust_env = False
        yield opened


@pytest.fixture
def ask(sandbox, session):
    """Call the vendor's API; with a body it is a POST."""

    def ask(path, body=None, token=DEFAULT_TOKEN, **options):
        method = "GET" if body is None else "POST"
        return session.request(method, f"{sandbox.url}/{token}/{path}", json=body, timeout=20, **options)

    return ask


@pytest.fixture
def billing(ask):
    """The times of the records in an answer of `post_billing_data`."""

    def billing(first, last):
        answer = ask("post_billing_data/", {"start_date": first, "end_date": last})
        assert answer.status_code == 200, answer.text
        return [record["created_at"] for record in answer.json()["data"]]

    return billing


@pytest.fixture
def admin(sandbox, session):
    """Post to the admin API."""

    def admin(name, value=None):
        return session.post(f"{sandbox.root}/__sandbox__/{name}", json=value or {}, timeout=20)

    return admin


# --- the data -------------------------------------------------------------------------------------------------------


def test_the_same_seed_makes_the_same_records():
    assert Dataset(7, TODAY).records == Dataset(7, TODAY).records


def test_another_seed_makes_other_records():
    assert Dataset(7, TODAY).records != Dataset(8, TODAY).records


def test_a_day_does_not_depend_on_how_many_days_there_are():
    day = (at("2026-03-05"), at("2026-03-06"))
    assert Dataset(7, TODAY, days=8).records_between(*day) == Dataset(7, TODAY, days=30).records_between(*day)


def test_the_days_are_as_requested_and_today_ends_at_the_given_time():
    records = Dataset(7, TODAY, days=3, until=clock_time(9)).records
    assert sorted({record["created_at"][:10] for record in records}) == ["2026-03-08", "2026-03-09", "2026-03-10"]
    assert max(record["created_at"] for record in records) <= "2026-03-10T09:00:00"


def test_a_record_has_the_documented_fields_in_the_documented_types():
    for record in Dataset(7, TODAY).records:
        assert {name: type(value) for name, value in record.items()} == {k: type(v) for k, v in DOCUMENTED.items()}
        assert datetime.fromisoformat(record["created_at"])


def test_seeded_records_include_the_difficult_cases():
    records = Dataset(1, TODAY).records
    contents = Counter(tuple(record.values()) for record in records)
    keys = Counter(
        (r["created_at"], r["phone"], r["code_auth"]) for r in (dict(zip(DOCUMENTED, c, strict=True)) for c in contents)
    )
    assert any(count > 1 for count in contents.values()), "exact repeats"
    assert any(count > 1 for count in keys.values()), "a call and its text message"
    assert any(record["code_auth"].startswith("0") for record in records), "leading zeros"
    assert any(record["code_auth"] == "" for record in records), "a call back has no code"
    assert any(record["status_info"] == "pending" for record in records), "a status that is not final"
    assert any(not re.fullmatch(r"89\d{9}", record["phone"]) for record in records), "foreign numbers"
    assert {Decimal(0), Decimal("0.2")} <= {record["price"] for record in records}
    assert all(2 <= record["price"] <= 4 for record in records if record["status_info"] == "SMS delivered")


def test_sundays_are_quieter_than_fridays():
    days = Counter(date.fromisoformat(r["created_at"][:10]).weekday() for r in Dataset(1, TODAY, days=42).records)
    assert days[6] < days[4]


def test_records_are_returned_as_copies():
    dataset = Dataset(1, TODAY)
    dataset.records[0]["price"] = Decimal(999)
    assert dataset.records == Dataset(1, TODAY).records


def test_a_float_price_becomes_its_shortest_decimal():
    dataset = Dataset(1, TODAY)
    dataset.replace([DOCUMENTED | {"price": 0.1}])
    assert dataset.records[0]["price"] == Decimal("0.1")


def test_a_record_without_a_readable_time_is_in_every_range():
    dataset = Dataset(1, TODAY)
    dataset.replace([made("soon"), made("2026-03-01T10:00:00"), made(None)])
    assert dataset.records_between(at("2020-01-01"), at("2020-01-02")) == [made("soon"), made(None)]


def test_remove_removes_one_of_two_equal_records():
    dataset = Dataset(1, TODAY)
    dataset.replace([DOCUMENTED, DOCUMENTED])
    dataset.remove([DOCUMENTED])
    assert dataset.records == [DOCUMENTED]


def test_remove_ignores_records_that_are_not_listed():
    dataset = Dataset(1, TODAY)
    dataset.replace([DOCUMENTED])
    with pytest.raises(ValueError, match="not in list"):
        dataset.remove([DOCUMENTED, DOCUMENTED])
    assert dataset.records == [DOCUMENTED]


def test_a_revision_reports_its_changes_of_the_last_complete_days():
    dataset = Dataset(1, TODAY)
    before = dataset.records
    revision = dataset.revise()
    gone, come = ([tuple(r.values()) for r in records] for records in (before, dataset.records))
    gone, come = Counter(gone) - Counter(come), Counter(come) - Counter(gone)

    assert min(revision.late, revision.corrected, revision.withdrawn) > 0
    assert gone.total() == revision.corrected + revision.withdrawn
    assert come.total() == revision.corrected + revision.late
    assert revision.days == sorted({date.fromisoformat(values[0][:10]) for values in gone | come})
    assert TODAY - timedelta(5) <= revision.days[0] <= revision.days[-1] < TODAY


def test_a_revision_completes_pending_records():
    dataset = Dataset(1, TODAY)
    complete = at("2026-01-01"), at("2026-03-10")
    assert any(record["status_info"] == "pending" for record in dataset.records_between(*complete))
    dataset.revise()
    assert not any(record["status_info"] == "pending" for record in dataset.records_between(*complete))


def test_revisions_are_determined_by_the_seed_and_differ():
    one, other = Dataset(1, TODAY), Dataset(1, TODAY)
    assert (one.revise(), one.revise()) == (other.revise(), other.revise())
    assert one.records == other.records


def test_reset_undoes_revisions():
    dataset = Dataset(1, TODAY)
    dataset.revise()
    dataset.reset()
    assert dataset.records == Dataset(1, TODAY).records


# --- the calls ------------------------------------------------------------------------------------------------------


def test_a_record_has_the_documented_format(sandbox, ask):
    sandbox.dataset.replace([DOCUMENTED])
    answer = ask("post_billing_data/", {"start_date": "2021-12-29", "end_date": "2021-12-29"})
    assert answer.text == (
        '{"success": true, "error": "", "data": [{"created_at": "2021-12-29T14:06:51", "code_auth": "0371", '
        '"status": 1, "status_info": "ok", "phone": "89243555100", "price": 0.2}]}'
    )


def test_records_added_by_a_test_are_served_unchanged(sandbox, ask):
    odd = made(
        None, status=True, price="1,5", code_auth=None, phone="\ud800", status_info={"extra": [1, None]}, new="ё"
    )
    sandbox.dataset.replace([odd])
    assert ask("get_billing_record/1/").json()["data"] == [odd]


def test_a_form_body_is_accepted_and_the_trailing_slash_optional(sandbox, session):
    sandbox.dataset.replace([DOCUMENTED])
    form = {"start_date": "2021-12-29", "end_date": "2021-12-29"}
    answer = session.post(f"{sandbox.url}/{DEFAULT_TOKEN}/post_billing_data", data=form, timeout=20)
    assert len(answer.json()["data"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"start_date": "2026-03-01"},
        {"start_date": "2026-03-01", "end_date": "2026-02-30"},
        {"start_date": "2026-3-1", "end_date": "2026-03-02"},
        {"start_date": "20260301", "end_date": "2026-03-02"},
        {"start_date": 20260301, "end_date": "2026-03-02"},
        {"start_date": "2026-03-02", "end_date": "2026-03-01"},
        {"start_date": "2026-03-02", "end_date": "9999-12-31"},
    ],
)
def test_invalid_dates_are_refused(ask, body):
    answer = ask("post_billing_data/", body)
    assert (answer.status_code, answer.json()["success"], answer.json()["data"]) == (400, False, {})


def test_another_token_is_refused(ask):
    answer = ask("get_balance/", token="11111111-0000-4000-8000-000000000000")
    assert answer.status_code == 401
    assert answer.json() == {"success": False, "error": "invalid token", "data": {}}


@pytest.mark.parametrize("path", ["", "get_nothing/", "post_billing_data/"])
def test_there_are_no_other_calls(ask, path):
    assert ask(path).status_code == 404


def test_last_records_are_sorted_newest_first(sandbox, ask):
    times = [f"2026-03-01T10:00:0{n}" for n in range(5)]
    sandbox.dataset.replace(map(made, times))
    assert [record["created_at"] for record in ask("get_billing_record/2/").json()["data"]] == times[:2:-1]


@pytest.mark.parametrize("count", ["0", "101", "-1", "many"])
def test_last_records_are_from_one_to_a_hundred(ask, count):
    answer = ask(f"get_billing_record/{count}/")
    assert (answer.status_code, answer.json()["success"], answer.json()["data"]) == (400, False, {})


@pytest.mark.parametrize(("count", "listed"), [(1, 1), (100, 100)])
def test_a_hundred_last_records_are_served(sandbox, ask, count, listed):
    sandbox.dataset.replace([made("2026-03-01T10:00:00")] * 150)
    assert len(ask(f"get_billing_record/{count}/").json()["data"]) == listed


def test_the_balance_is_the_credit_minus_the_records(sandbox, ask, admin):
    sandbox.dataset.replace([DOCUMENTED, made("2026-03-01T00:00:00", price=Decimal("3.45"))])
    sandbox.dataset.credit = Decimal(10)
    assert '"data": {"balance": 6.35, "price": 0.2, "balance_limit": 0.0}' in ask("get_balance/").text
    assert admin("credit", {"add": 500}).json() == {"balance": 506.35}


def test_a_status_is_found_by_its_id(sandbox, ask):
    sandbox.dataset.replace([DOCUMENTED])
    expected = {"id": 1} | {name: value for name, value in DOCUMENTED.items() if name != "code_auth"} | {"price": 0.2}
    assert ask("get_status/1").json() == {"success": True, "error": "", "data": expected}


def test_an_unknown_status_id_is_refused_with_the_documented_message(ask):
    answer = ask("get_status/123456789/")
    assert answer.status_code == 400
    assert answer.json() == {"success": False, "error": "id record not found", "data": {}}


def test_the_request_log_does_not_contain_the_token(sandbox, ask, admin, session):
    dates = {"start_date": "2026-03-01", "end_date": "2026-03-02"}
    ask("post_billing_data/", dates)
    ask("get_billing_csv/2026-03-01/")
    session.get(f"{sandbox.url}/some/{DEFAULT_TOKEN}/", timeout=20)
    assert [(request.action, request.params) for request in sandbox.requests] == [
        ("post_billing_data", dates),
        ("get_billing_csv", {"start_date": "2026-03-01"}),
        ("", {}),
    ]
    assert DEFAULT_TOKEN not in session.get(f"{sandbox.root}/__sandbox__/state", timeout=20).text


def test_the_date_header_follows_the_sandbox_clock(ask):
    assert ask("get_balance/").headers["Date"] == "Tue, 10 Mar 2026 11:30:00 GMT"


def test_one_connection_serves_many_requests(sandbox):
    with closing(HTTPConnection(sandbox.root.removeprefix("http://"), timeout=20)) as connection:
        addresses = set()
        for _ in range(3):
            connection.request("GET", f"/api/v1/authcalls/{DEFAULT_TOKEN}/get_balance/")
            assert connection.getresponse().read()
            addresses.add(connection.sock.getsockname())
    assert len(addresses) == 1


# --- the policies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policies", "listed"),
    [
        ({}, ["2026-03-02T00:00:00", "2026-03-02T22:00:00", "2026-03-03T01:00:00"]),
        ({"end_date": "exclusive"}, ["2026-03-02T00:00:00", "2026-03-02T22:00:00"]),
        ({"zone_offset_hours": -3}, ["2026-03-02T22:00:00", "2026-03-03T01:00:00", "2026-03-04T02:00:00"]),
        (
            {"zone_offset_hours": 3},
            ["2026-03-01T23:00:00", "2026-03-02T00:00:00", "2026-03-02T22:00:00", "2026-03-03T01:00:00"],
        ),
        ({"order": "descending"}, ["2026-03-03T01:00:00", "2026-03-02T22:00:00", "2026-03-02T00:00:00"]),
        ({"json_limit": 2}, ["2026-03-02T00:00:00", "2026-03-02T22:00:00"]),
        ({"json_limit": 1, "order": "descending"}, ["2026-03-03T01:00:00"]),
    ],
)
def test_the_dates_the_order_and_the_limit_are_policies(sandbox, billing, policies, listed):
    sandbox.dataset.replace(
        map(
            made,
            [
                "2026-03-01T23:00:00",
                "2026-03-02T00:00:00",
                "2026-03-02T22:00:00",
                "2026-03-03T01:00:00",
                "2026-03-04T02:00:00",
            ],
        )
    )
    sandbox.policies = Behaviour(**policies)
    assert billing("2026-03-02", "2026-03-03") == listed


def test_shuffled_records_are_the_same_records(sandbox, billing):
    days = ("2026-03-01", "2026-03-10")
    ascending = billing(*days)
    sandbox.policies.order = "shuffled"
    shuffled = billing(*days)
    assert ascending == sorted(ascending) != shuffled
    assert sorted(shuffled) == ascending


def test_a_date_in_the_future_may_be_refused(sandbox, ask):
    sandbox.policies.refuse_future = True
    answers = [ask("post_billing_data/", {"start_date": "2026-03-09", "end_date": f"2026-03-{n}"}) for n in (10, 11)]
    assert [answer.status_code for answer in answers] == [200, 400]


@pytest.mark.parametrize(
    ("spelling", "field", "text"),
    [
        ({"status": "bool"}, "status", "true"),
        ({"status": "string"}, "status", '"1"'),
        ({"phone": "7"}, "phone", '"79243555100"'),
        ({"phone": "+7"}, "phone", '"+79243555100"'),
        ({"price": "string"}, "price", '"0.2"'),
        ({"price": "padded"}, "price", "0.200000"),
        ({"price": "noise"}, "price", "0.20000000000000001"),
        ({"code": "number"}, "code_auth", "371"),
        ({"code": "null"}, "code_auth", '"0371"'),
    ],
)
def test_json_values_can_have_other_formats(sandbox, ask, spelling, field, text):
    sandbox.dataset.replace([DOCUMENTED])
    sandbox.policies = sandbox.policies.changed({"json": spelling})
    assert f'"{field}": {text}' in ask("get_billing_record/1/").text


@pytest.mark.parametrize("code", ["number", "null"])
def test_an_empty_code_can_be_null(sandbox, ask, code):
    sandbox.dataset.replace([DOCUMENTED | {"code_auth": ""}])
    sandbox.policies.json.code = code
    assert ask("get_billing_record/1/").json()["data"][0]["code_auth"] is None


HEADER = "created_at;code_auth;status;status_info;phone;price\r\n"
LINE = "2021-12-29T14:06:51;0371;1;ok;89243555100;0.2\r\n"


@pytest.mark.parametrize(
    ("form", "content"),
    [
        ({}, (HEADER + LINE).encode()),
        ({"delimiter": "\t"}, (HEADER + LINE).replace(";", "\t").encode()),
        ({"delimiter": ",", "decimal": ","}, (HEADER + LINE).replace(";", ",").replace("0.2", '"0,2"').encode()),
        ({"header": "none"}, LINE.encode()),
        ({"header": "none", "encoding": "utf-8-sig"}, b"\xef\xbb\xbf" + LINE.encode()),
        ({"header": "russian", "encoding": "cp1251", "columns": ["price", "phone"]},
         "Стоимость;Номер телефона\r\n0.2;89243555100\r\n".encode("cp1251")),
        ({"header": "none", "time": "space"}, LINE.replace("T", " ").encode()),
        ({"header": "none", "time": "fraction"}, LINE.replace("51;", "51.000000;", 1).encode()),
        ({"header": "none", "time": "dotted"}, LINE.replace("2021-12-29T", "29.12.2021 ").encode()),
        ({"header": "none", "code": "number", "phone": "+7", "status": "bool", "price": "padded"},
         b"2021-12-29T14:06:51;371;True;ok;+79243555100;0.200000\r\n"),
    ],
)  # fmt: skip
def test_the_csv_has_many_formats(sandbox, ask, form, content):
    sandbox.dataset.replace([DOCUMENTED])
    sandbox.policies = sandbox.policies.changed({"csv": form})
    assert ask("get_billing_csv/2021-12-29/").content == content


def test_the_csv_has_its_own_limit_and_no_end_date(sandbox, ask):
    sandbox.dataset.replace(map(made, ["2026-03-01T00:00:00", "2026-03-02T00:00:00", "2099-01-01T00:00:00"]))
    sandbox.policies.csv.header = "none"
    assert ask("get_billing_csv/2026-03-02/").text.count("\r\n") == 2
    sandbox.policies.csv_limit = 1
    assert ask("get_billing_csv/2026-03-02/").text.startswith("2026-03-02")


@pytest.mark.parametrize(
    "wrong", [{"end_date": "both"}, {"json_limit": "10"}, {"nothing": 1}, {"csv": {"delimiter": "|"}}, {"json": 3}]
)
def test_an_unknown_policy_is_refused(sandbox, admin, wrong):
    assert admin("policies", wrong).status_code == 400
    assert sandbox.policies == Behaviour()


# --- the faults -----------------------------------------------------------------------------------------------------


@pytest.fixture
def right(sandbox, ask):
    """The answers without faults."""
    return {"json": ask("get_billing_record/5/").content, "csv": ask("get_billing_csv/2026-03-01/").content}


def test_a_fault_affects_the_given_number_of_answers(sandbox, ask):
    sandbox.faults.add("status", status=429, headers={"Retry-After": "1"}, times=2)
    answers = [ask("get_balance/") for _ in range(3)]
    assert [(a.status_code, a.headers.get("Retry-After")) for a in answers] == [(429, "1"), (429, "1"), (200, None)]
    assert len(sandbox.faults) == 0


def test_a_fault_without_times_lasts_until_it_is_cleared(sandbox, ask):
    sandbox.faults.add("status", times=None)
    assert [ask("get_balance/").status_code for _ in range(3)] == [503, 503, 503]
    sandbox.faults.clear()
    assert ask("get_balance/").status_code == 200


def test_a_fault_affects_only_its_call_after_the_skipped_ones(sandbox, ask):
    sandbox.faults.add("status", action="get_billing_record", skip=1)
    paths = ["get_balance/", "get_billing_record/1/", "get_billing_record/1/", "get_billing_record/1/"]
    assert [ask(path).status_code for path in paths] == [200, 200, 503, 200]


def test_faults_are_applied_in_the_order_they_were_added(sandbox, ask):
    sandbox.faults.add("status", status=500)
    sandbox.faults.add("status", status=599, body="<odd>", headers={"Content-Type": "text/plain"})
    answers = [ask("get_balance/") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [500, 599]
    assert (answers[1].text, answers[1].headers["Content-Type"]) == ("<odd>", "text/plain")


@pytest.mark.parametrize("path", ["get_billing_record/5/", "get_billing_csv/2026-03-01/"])
@pytest.mark.parametrize("fault", ["cut", "cut_chunked", "reset", "reset_midway"])
def test_a_broken_connection_is_an_error_and_the_next_answer_is_complete(sandbox, ask, path, fault):
    sandbox.faults.add(fault)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        ask(path)
    assert ask(path).status_code == 200


def test_a_hang_ends_without_a_byte(sandbox, ask):
    sandbox.faults.add("hang", seconds=0)
    with pytest.raises(requests.ConnectionError):
        ask("get_balance/")


@pytest.mark.parametrize("fault", ["hang", "drip_headers", "drip_body"])
def test_stopping_the_server_ends_a_hang_and_a_drip(fault):
    outcome = []

    def wait_for_an_answer(url):
        with requests.Session() as session:
            session.trust_env = False
            try:
                outcome.append(session.get(url, timeout=600))
            except requests.RequestException as error:
                outcome.append(error)

    with Sandbox(now=NOW) as sandbox:
        sandbox.faults.add(fault, seconds=None if fault == "hang" else 600)
        client = threading.Thread(target=wait_for_an_answer, args=(f"{sandbox.url}/{DEFAULT_TOKEN}/get_balance/",))
        client.start()
        while not sandbox.requests:
            time.sleep(0.001)
    client.join()
    assert isinstance(outcome[0], requests.RequestException)


@pytest.mark.parametrize("fault", ["drip_headers", "drip_body"])
def test_a_drip_sends_the_whole_answer_eventually(sandbox, ask, right, fault):
    sandbox.faults.add(fault, seconds=0)
    assert ask("get_billing_record/5/").content == right["json"]


def test_a_truncated_gzip_stream_has_a_correct_length_and_no_end(sandbox, ask, right):
    sandbox.faults.add("truncated_gzip")
    answer = ask("get_billing_record/5/", stream=True)
    body = answer.raw.read(decode_content=False)
    decoder = zlib.decompressobj(31)
    part = decoder.decompress(body)
    assert (answer.headers["Content-Encoding"], int(answer.headers["Content-Length"])) == ("gzip", len(body))
    assert not decoder.eof
    assert right["json"].startswith(part)


def test_a_gzip_bomb_is_small_compressed_and_large_decompressed(sandbox, ask, right):
    sandbox.faults.add("gzip_bomb", megabytes=8)
    answer = ask("get_billing_record/5/")
    assert int(answer.headers["Content-Length"]) < 20_000
    assert len(answer.content) == 8 * 2**20 + len(right["json"])
    assert answer.json() == json.loads(right["json"])


def test_a_redirect_points_to_the_same_path_on_another_host(sandbox, ask):
    sandbox.faults.add("redirect", location="http://other.invalid")
    answer = ask("get_balance/", allow_redirects=False)
    expected = f"http://other.invalid/api/v1/authcalls/{DEFAULT_TOKEN}/get_balance/"
    assert (answer.status_code, answer.headers["Location"]) == (302, expected)


def test_an_error_text_may_repeat_the_token(sandbox, ask):
    sandbox.faults.add("echo_url")
    answer = ask("get_balance/")
    assert (answer.status_code, DEFAULT_TOKEN in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    ("fault", "content"),
    [
        ("empty_body", b""),
        ("refusal", b'{"success": false, "error": "internal error", "data": {}}'),
        ("null_data", b'{"success": true, "error": "", "data": null}'),
        ("empty_list", b'{"success": true, "error": "", "data": []}'),
    ],
)
def test_an_answer_with_status_200_may_be_useless(sandbox, ask, fault, content):
    sandbox.faults.add(fault)
    answer = ask("get_billing_record/5/")
    assert (answer.status_code, answer.content) == (200, content)


def test_json_may_start_with_a_byte_order_mark(sandbox, ask, right):
    sandbox.faults.add("json_bom")
    assert ask("get_billing_record/5/").content == b"\xef\xbb\xbf" + right["json"]


@pytest.mark.parametrize("fault", ["invalid_json", "cut_text", "html"])
def test_json_may_be_invalid(sandbox, ask, fault):
    sandbox.faults.add(fault)
    answer = ask("get_billing_record/5/")
    assert answer.status_code == 200
    with pytest.raises(requests.exceptions.JSONDecodeError):
        answer.json()


@pytest.mark.parametrize("share", [0.5, 1])
def test_a_csv_may_end_within_a_line(sandbox, ask, right, share):
    sandbox.faults.add("cut_text", share=share)
    content = ask("get_billing_csv/2026-03-01/").content
    assert right["csv"].startswith(content)
    assert right["csv"][len(content)] not in b"\r\n"
    assert content[-1] not in b"\r\n"


def test_a_truncated_csv_ends_within_a_line_at_every_cut(sandbox, ask, right):
    for length in range(100, 240):
        sandbox.faults.add("cut_text", share=(length + 0.5) / len(right["csv"]))
        assert ask("get_billing_csv/2026-03-01/").content[-1] not in b"\r\n"


def test_a_csv_may_be_an_error_in_json(sandbox, ask):
    sandbox.faults.add("refusal", body="no money")
    answer = ask("get_billing_csv/2026-03-01/")
    assert (answer.headers["Content-Type"], answer.json()["error"]) == ("text/csv", "no money")


def test_a_csv_may_have_only_a_header(sandbox, ask):
    sandbox.faults.add("empty_list")
    assert ask("get_billing_csv/2026-03-01/").text == HEADER


def test_an_answer_may_be_about_other_days(sandbox, ask):
    def billing_text(first, last):
        return ask("post_billing_data/", {"start_date": first, "end_date": last}).json()["data"]

    right = billing_text("2026-03-05", "2026-03-06"), billing_text("2026-03-08", "2026-03-09")
    export = ask("get_billing_csv/2026-03-01/").text
    sandbox.faults.add("other_days", days=3)
    sandbox.faults.add("other_days", days=-3)
    assert (billing_text("2026-03-08", "2026-03-09"), billing_text("2026-03-05", "2026-03-06")) == right
    sandbox.faults.add("other_days", days=3)
    csv_text = ask("get_billing_csv/2026-03-04/").text
    assert csv_text
    assert export.startswith(csv_text)
    assert max(re.findall(r"2026-..-..", csv_text)) < "2026-03-09"
    sandbox.faults.add("other_days")
    assert ask("get_billing_csv/soon/").status_code == 400


def test_an_unknown_fault_is_refused(sandbox, admin):
    with pytest.raises(ValueError, match="there is no fault 'flood'"):
        sandbox.faults.add("flood")
    with pytest.raises(ValueError, match="times is 1 or more"):
        sandbox.faults.add("cut", times=0)
    assert admin("faults", {"fault": "cut", "how": "badly"}).status_code == 400


# --- the admin API --------------------------------------------------------------------------------------------------


def test_the_admin_api_controls_the_sandbox_from_another_process(sandbox, ask, admin, session):
    record = DOCUMENTED | {"price": 0.2}
    assert admin("records", {"replace": [record, record], "remove": [record]}).json() == {"records": 1}
    assert admin("policies", {"order": "descending", "csv": {"header": "none"}}).status_code == 200
    assert admin("faults", [{"fault": "status", "status": 503}, {"fault": "cut", "times": None}]).status_code == 200
    assert ask("get_balance/").status_code == 503

    state = session.get(f"{sandbox.root}/__sandbox__/state", timeout=20).json()
    assert state["records"] == [record]
    assert (state["policies"]["order"], state["policies"]["csv"]["header"]) == ("descending", "none")
    assert [fault["fault"] for fault in state["faults"]] == ["cut"]
    assert state["requests"] == [{"action": "get_balance", "params": {}}]
    assert state["now"] == "2026-03-10T14:30:00"

    assert admin("faults", {"clear": True}).json() == []


def test_the_admin_api_revises_records(sandbox, admin):
    summary = admin("revise", {"seed": 3}).json()
    assert summary.keys() == {"late", "corrected", "withdrawn", "days"}
    assert sandbox.dataset.records != Dataset(1, TODAY, days=10).records


def test_seeded_records_appear_when_the_clock_advances(sandbox, admin, billing):
    assert billing("2026-03-11", "2026-03-11") == []
    admin("clock", {"now": "2026-03-11T09:00:00"})
    assert billing("2026-03-11", "2026-03-11")
    assert max(billing("2026-03-11", "2026-03-11")) <= "2026-03-11T09:00:00"
    assert billing("2026-03-10", "2026-03-10")[-1] > "2026-03-10T14:30:00"


def test_a_clock_with_an_offset_is_converted_to_moscow_time(sandbox, admin):
    assert admin("clock", {"now": "2026-03-11T09:00:00+00:00"}).json() == {"now": "2026-03-11T12:00:00"}


def test_no_seeded_records_are_added_to_records_of_a_test(sandbox):
    sandbox.dataset.replace([DOCUMENTED])
    sandbox.set_now(at("2026-03-12"))
    assert sandbox.dataset.records == [DOCUMENTED]


def test_reset_restores_the_initial_state(sandbox, ask, admin):
    sandbox.dataset.replace([])
    sandbox.policies.end_date = "exclusive"
    sandbox.faults.add("reset", times=None)
    sandbox.set_now(at("2027-01-01"))
    admin("reset")
    assert sandbox.dataset.records == Dataset(1, TODAY, days=10).records
    assert (sandbox.policies, sandbox.faults.pending(), sandbox.requests, sandbox.now) == (Behaviour(), [], [], NOW)


@pytest.mark.parametrize(
    ("name", "value"), [("clock", {"now": "noon"}), ("records", {"swap": []}), ("revise", {"x": 1})]
)
def test_an_invalid_admin_request_is_refused_with_the_reason(admin, name, value):
    answer = admin(name, value)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_other_admin_paths_are_refused(admin):
    assert admin("nothing").status_code == 404


# --- the program ----------------------------------------------------------------------------------------------------


def test_a_dataset_can_be_empty():
    dataset = Dataset(1, TODAY)
    dataset.replace([])
    assert Sandbox(dataset=dataset).dataset is dataset


def test_a_port_in_use_is_reported_in_one_line_by_the_sandbox(sandbox):
    port = int(sandbox.root.rpartition(":")[2])
    with pytest.raises(OSError, match=rf"^\[Errno \d+\] port {port} of 127\.0\.0\.1 cannot be opened: .+$"):
        Sandbox(port).start()


def test_an_invalid_port_is_reported_in_one_line():
    with pytest.raises(OSError, match=r"port 70000 of 127\.0\.0\.1 cannot be opened: "):
        Sandbox(70_000).start()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_program_prints_its_url_and_ends_cleanly(session, ending):
    command = [sys.executable, "-m", "etl.sandbox", "--port", "0", "--token", "open-sesame", "--seed", "3"]
    with subprocess.Popen(command, cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        first, second = program.stdout.readline(), program.stdout.readline()
        url = re.fullmatch(r"sandbox: (http://127\.0\.0\.1:\d+/api/v1/authcalls)\n", first)[1]
        assert second == "token:   open-sesame\n"
        assert session.get(f"{url}/open-sesame/get_billing_record/3/", timeout=20).json()["success"] is True
        program.send_signal(ending)
        _, errors = program.communicate(timeout=60)
    assert (program.returncode, errors) == (0, "")


def test_the_program_exits_1_when_the_port_is_in_use(sandbox):
    port = sandbox.root.rpartition(":")[2]
    command = [sys.executable, "-m", "etl.sandbox", "--port", port]
    program = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False, timeout=60)
    assert program.returncode == 1
    assert program.stderr.startswith(f"port {port} of 127.0.0.1 cannot be opened")
    assert program.stderr.count("\n") == 1


def test_the_sandbox_imports_only_the_standard_library_and_itself():
    allowed = sys.stdlib_module_names | {"etl.sandbox"}
    for module in (HOME / "etl" / "sandbox").glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert name.split(".")[0] in allowed or ".".join(name.split(".")[:2]) in allowed, (module.name, name)
