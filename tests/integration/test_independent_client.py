"""An independent client of the vendor's API works with the sandbox, so the sandbox does not only match our own client.

`pytelefonipapi` 0.0.3 from PyPI, unmodified, gets the sandbox's URL by its `base_url` argument, which ends with the
version, without `/authcalls`. Its `get_billing_csv` takes a datetime, because a text must be month/day/year and is sent
unchanged; its models have `status` as a boolean.
"""

from __future__ import annotations

import csv
from datetime import date, datetime
from decimal import Decimal

import pytest
import requests
from pytelefonipapi import SettingAPI

from etl.errors import UnknownRecordError
from etl.extract.client import Client, RetryPolicy
from etl.extract.transport import RequestLimits, Transport
from etl.sandbox import Dataset, Sandbox

at = datetime.fromisoformat

# The client still uses the names of pydantic 1.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")


@pytest.fixture
def sandbox():
    now = at("2026-03-10T14:30")
    with Sandbox(dataset=Dataset(seed=1, today=now.date(), until=now.time()), now=now) as running:
        yield running


@pytest.fixture
def client(sandbox):
    with requests.Session() as session:
        session.trust_env = False
        yield SettingAPI(sandbox.token, session=session, base_url=sandbox.url.removesuffix("/authcalls"))


@pytest.fixture
def own(sandbox):
    limits = RequestLimits(timeout=20, deadline=20, max_bytes=1 << 20)
    transport = Transport(sandbox.url, sandbox.token, limits, user_agent="test", redact=str)
    yield Client(transport, RetryPolicy(1, max_wait=0))
    transport.close()


def as_the_client_has_it(record):
    return record | {"status": bool(record["status"]), "price": float(record["price"])}


def test_the_client_reads_the_balance(sandbox, client):
    answer = client.get_balance()
    assert (answer.success, answer.error) == (True, "")
    assert answer.data.model_dump() == {"balance": float(sandbox.dataset.balance), "price": 0.2, "balance_limit": 0.0}


def test_the_client_reads_the_last_records(sandbox, client):
    answer = client.get_billing_record(100)
    expected = map(as_the_client_has_it, sandbox.dataset.records[:-101:-1])
    assert [record.model_dump() for record in answer.data] == list(expected)


def test_the_client_reads_the_records_of_a_range(sandbox, client):
    answer = client.post_billing_data("2026-02-01", "2026-03-10")
    expected = map(as_the_client_has_it, sandbox.dataset.records_between(at("2026-02-01"), at("2026-03-11")))
    assert [record.model_dump() for record in answer.data] == list(expected)


def test_the_client_saves_the_csv(sandbox, client, tmp_path):
    client.get_billing_csv(at("2026-03-01"), tmp_path)
    with (tmp_path / "billing.csv").open(encoding="utf-8", newline="") as file:
        saved = [
            row | {"status": int(row["status"]), "price": Decimal(row["price"])}
            for row in csv.DictReader(file, delimiter=";")
        ]
    assert saved == sandbox.dataset.records_between(at("2026-03-01"), at("2026-03-11"))


def test_the_client_reads_a_status(sandbox, client):
    oldest = as_the_client_has_it(sandbox.dataset.records[0])
    del oldest["code_auth"]
    assert client.get_status(1).data.model_dump() == {"id": 1} | oldest


def test_both_clients_read_the_same_last_records(client, own):
    """Its models take `status` for a boolean and `price` for a float."""
    rows = own.get_newest_records(100, lambda feed: list(feed.rows))
    expected = [as_the_client_has_it({name: getattr(row, name) for name in row.__struct_fields__}) for row in rows]
    assert [record.model_dump() for record in client.get_billing_record(100).data] == expected


def test_both_clients_read_the_same_status(client, own):
    expected = as_the_client_has_it(own.get_status("1"))
    assert client.get_status(1).data.model_dump() == expected


def test_both_clients_handle_an_unknown_id(client, own):
    answer = client.get_status(10**8)
    with pytest.raises(UnknownRecordError, match=answer.error):
        own.get_status(str(10**8))


def test_the_client_handles_a_refusal(client):
    answer = client.get_status(10**8)
    assert (answer.success, answer.error, answer.data) == (False, "id record not found", None)


def test_the_client_handles_a_wrong_token(client):
    client.token = "another"
    assert client.get_balance().success is False


def test_the_client_reads_the_other_plausible_formats(sandbox, client):
    sandbox.policies = sandbox.policies.changed({"json": {"status": "bool", "phone": "+7", "price": "string"}})
    day = date(2026, 3, 9).isoformat()
    assert len(client.post_billing_data(day, day).data) > 10
