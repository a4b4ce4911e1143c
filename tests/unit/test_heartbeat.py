"""Heartbeats: their requests, and their limits when the service does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from support.fake_heartbeat_server import HeartbeatServer, heartbeat_server
from support.tunnels import forward_proxy, https_in_front_of

from etl.log import Redactor
from etl.network import Proxy, Route
from etl.ops.heartbeat import Heartbeat, ping_url

RUN = "7f2c7f2c-7f2c-4f2c-8f2c-7f2c7f2c7f2c"


@pytest.fixture
def service() -> Iterator[HeartbeatServer]:
    with heartbeat_server() as server:
        yield server


def test_a_ping_url_keeps_its_query():
    assert ping_url("https://hc-ping.com/check", "start", RUN) == f"https://hc-ping.com/check/start?rid={RUN}"
    assert ping_url("https://h/key/slug/?create=1", "65", RUN) == f"https://h/key/slug/65?create=1&rid={RUN}"


def test_pings_report_the_start_and_the_end_of_a_run(service):
    heartbeat = Heartbeat(service.url, RUN, Redactor(["t0ken"]))
    heartbeat.start()
    heartbeat.finish(65, "shop: look at t0ken")
    assert service.pings == [(f"/ping/check/start?rid={RUN}", ""), (f"/ping/check/65?rid={RUN}", "shop: look at ***")]


def test_a_remote_service_is_reached_through_the_proxy(service, authority):
    root = service.url.removesuffix("/ping/check")
    with https_in_front_of(root, authority) as secure, forward_proxy() as proxy:
        route = Route(Proxy(proxy.url, "HTTPS_PROXY"), ca_path=authority.ca_file)
        Heartbeat(f"{secure}/ping/check", RUN, str, route).finish(0, "done")
    assert service.pings == [(f"/ping/check/0?rid={RUN}", "done")]
    assert [line.split(" ")[0] for line in proxy.seen] == ["CONNECT"]


def test_a_long_summary_is_truncated(service):
    Heartbeat(service.url, RUN, str).finish(0, "я" * 20_000)
    assert len(service.pings[0][1]) <= 5_000


@pytest.mark.parametrize(("status", "words"), [(404, "HTTP 404"), (500, "HTTP 500"), (302, "HTTP 302")])
def test_a_refused_ping_is_a_warning_without_the_url(service, status, words, caplog):
    service.status = status
    Heartbeat(service.url, RUN, str).finish(0, "")
    assert [record.getMessage() for record in caplog.records] == [
        f"the heartbeat did not report the run's end: {words}"
    ]
    assert len(service.pings) == 1, "neither retried nor redirected"


def test_an_unreachable_service_is_a_warning_without_the_url(caplog):
    Heartbeat("http://127.0.0.1:1/secret-check", RUN, str).finish(0, "")
    assert "ConnectionError" in caplog.text
    assert "secret-check" not in caplog.text


def test_a_service_that_answers_slowly_times_out(service, caplog):
    service.trickles = True
    heartbeat = Heartbeat(service.url, RUN, str)
    started = time.monotonic()
    heartbeat.start()
    heartbeat.finish(0, "", patience=0.4)
    assert time.monotonic() - started < 5, "the answer would never end"
    assert caplog.text.count("no answer in time") == 2


def test_no_ping_is_sent_without_a_url(caplog):
    before = threading.active_count()
    heartbeat = Heartbeat(None, RUN, str)
    heartbeat.start()
    heartbeat.finish(0, "")
    assert (threading.active_count(), caplog.records) == (before, [])
