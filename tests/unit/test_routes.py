"""Which proxy and which certificates apply to a URL, by settings and environment; and requests over real tunnels."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from pathlib import Path

import pytest
from support.run_helpers import load_settings
from support.secret_leaks import PASSWORD, TOKEN, error_text, leaks
from support.tunnels import Authority, forward_proxy, https_in_front_of, new_authority

from etl.config.loader import load_run_settings
from etl.config.network import find_route, network_variables, parse_ca_path, proxy_secrets
from etl.config.sources import read_configuration
from etl.errors import ConfigError, RequestRejected, RetryableError, VendorError
from etl.extract.transport import RequestLimits, Transport
from etl.log import Redactor
from etl.network import Proxy, Route
from etl.sandbox import Dataset, Sandbox
from etl.services.setting_errors import environment_names

API = "https://api.telefon-ip.ru/api/v1/authcalls"
TODAY = date(2026, 3, 11)
NOW = datetime.combine(TODAY, time(9, 30))
BODY = {"start_date": "2026-03-09", "end_date": "2026-03-10"}


# Selection -----------------------------------------------------------------------------------------------------------

PROXIES = {
    "none": ({}, None),
    "upper case": ({"HTTPS_PROXY": "http://p:1"}, "http://p:1 (HTTPS_PROXY)"),
    "lower case first": ({"HTTPS_PROXY": "http://p:1", "https_proxy": "http://q:2"}, "http://q:2 (https_proxy)"),
    "an empty one is unset": ({"HTTPS_PROXY": "http://p:1", "https_proxy": " "}, "http://p:1 (HTTPS_PROXY)"),
    "for all schemes": ({"ALL_PROXY": "http://p:1"}, "http://p:1 (ALL_PROXY)"),
    "its own scheme first": ({"ALL_PROXY": "http://p:1", "HTTPS_PROXY": "http://q:2"}, "http://q:2 (HTTPS_PROXY)"),
    "not that of http": ({"HTTP_PROXY": "http://p:1", "http_proxy": "http://p:1"}, None),
    "without a scheme": ({"HTTPS_PROXY": "p.example:3128"}, "http://p.example:3128 (HTTPS_PROXY)"),
    "over TLS": ({"HTTPS_PROXY": "https://p:1/"}, "https://p:1 (HTTPS_PROXY)"),
    "with a password": ({"HTTPS_PROXY": f"http://u:{PASSWORD}@p:1"}, "http://p:1 (HTTPS_PROXY)"),
    "the host excluded": ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "x.example, api.telefon-ip.ru"}, None),
    "its domain excluded": ({"HTTPS_PROXY": "http://p:1", "no_proxy": ".telefon-ip.ru"}, None),
    "all excluded": ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
    "another excluded": ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "ip.ru,127.0.0.1"}, "http://p:1 (HTTPS_PROXY)"),
    "no proxy in lower case first": (
        {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*", "no_proxy": "x.example"},
        "http://p:1 (HTTPS_PROXY)",
    ),
}


@pytest.mark.parametrize(("environment", "expected"), PROXIES.values(), ids=PROXIES)
def test_the_proxy_of_the_environment_is_used_like_by_other_tools(environment, expected):
    route = find_route(API, None, None, network_variables(environment))
    assert (None if route.proxy is None else str(route.proxy)) == expected
    assert leaks(repr(route) + str(route)) == []


def test_billing_proxy_precedes_the_environment_and_no_proxy():
    environment = {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}
    assert str(find_route(API, "http://own:3", None, environment).proxy) == "http://own:3 (BILLING_PROXY)"


def test_a_plain_url_has_neither_proxy_nor_certificates(tmp_path):
    environment = {"HTTPS_PROXY": "socks5://p:1", "SSL_CERT_FILE": "/no/such/file"}
    route = find_route("http://127.0.0.1:8080/api", "http://own:3", tmp_path / "missing", environment)
    assert route == Route(encrypted=False)
    assert str(route) == "http, without proxy and certificates"


def test_the_reason_for_not_using_a_proxy_is_reported():
    route = find_route(API, None, None, {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"})
    assert str(route).startswith("no proxy (NO_PROXY excludes the host from HTTPS_PROXY); ")


@pytest.mark.parametrize(
    "text",
    [
        *("http://", "http://:3128", "ftp://p:1", "http://p:port", "http://p:1/path", "http://p:1?q", "http://p:1#f"),
        *(
            "http://u:pass/word@p:1",
            "http://u:12/34@p:1",
            "http://p :1",
            "socks5://p:1",
            "socks5h://p:1",
            "http://[p:1",
        ),
    ],
)
def test_an_invalid_proxy_is_refused_without_repeating_it(text):
    with pytest.raises(ConfigError) as refused:
        find_route(API, None, None, {"HTTPS_PROXY": text})
    assert str(refused.value).startswith("HTTPS_PROXY must be the URL of an HTTP proxy like http://proxy.example:3128")
    assert (refused.value.__cause__, refused.value.__context__) == (None, None)
    assert not any(part in str(refused.value) for part in ("pass/", "word@", "12/34"))
    assert ("SOCKS" in str(refused.value)) == text.startswith("socks")


def test_certificates_are_from_billing_ca_file_or_common_variables(authority):
    file = str(authority.ca_file)
    both = {"SSL_CERT_FILE": file, "REQUESTS_CA_BUNDLE": "/no/such/file"}
    assert find_route(API, None, Path("own.pem"), both).authorities() == "in own.pem (BILLING_CA_FILE)"
    assert find_route(API, None, None, both).authorities() == f"in {file} (SSL_CERT_FILE)"
    assert find_route(API, None, None, {"REQUESTS_CA_BUNDLE": file}).ca_source == "REQUESTS_CA_BUNDLE"
    assert find_route(API, None, None, {}).authorities() == "of the certifi package"


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_an_invalid_certificate_file_is_named(variable, tmp_path, authority):
    with pytest.raises(ConfigError, match=rf"{variable} is '/no/such/file', and must be .*\(No such file"):
        find_route(API, None, None, {variable: "/no/such/file"})
    (tmp_path / "empty.pem").touch()
    for path in (tmp_path / "empty.pem", authority.key):
        with pytest.raises(ConfigError, match=f"{variable} is .* certificates in PEM format"):
            find_route(API, None, None, {variable: str(path)})


def test_a_folder_of_certificates_is_accepted(tmp_path):
    assert parse_ca_path(str(tmp_path)) == tmp_path


def test_proxy_and_certificates_are_settings(monkeypatch, tmp_path, authority):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("BILLING_PROXY", f"http://u:{PASSWORD}@own:3")
    monkeypatch.setenv("BILLING_CA_FILE", str(authority.ca_file))
    monkeypatch.setenv("HTTPS_PROXY", "http://other:0ther-passw0rd@p:1")
    settings = load_settings()
    route = settings.route_to(settings.api_url)
    assert str(route) == (
        f"through the proxy http://own:3 (BILLING_PROXY); trusted are the certificates in {authority.ca_file} "
        "(BILLING_CA_FILE)"
    )
    assert leaks(repr(settings)) == []
    run = load_run_settings(read_configuration())
    assert run.route_to("https://hc-ping.com/x") == route
    for secrets in (settings.secrets(), run.secrets()):
        assert {PASSWORD, "0ther-passw0rd"} <= set(secrets)


def test_billing_proxy_can_be_in_a_file(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "proxy"
    file.write_text("http://u:pw@own:3\n")
    file.chmod(0o600)
    monkeypatch.setenv("BILLING_PROXY_FILE", str(file))
    assert load_settings().proxy == "http://u:pw@own:3"


def test_a_password_of_a_proxy_is_redacted_in_every_spelling():
    redact = Redactor(proxy_secrets("http://user:p%40ssw%3Ard@proxy:3128", {"ALL_PROXY": "me:s3cr/t@p:1"}))
    sent = "Basic dXNlcjpwQHNzdzpyZA=="
    assert redact(f"p%40ssw%3Ard p@ssw:rd {sent} s3cr/t") == "*** *** Basic *** ***"


def test_only_the_variables_of_a_route_are_kept():
    assert network_variables({"HTTPS_PROXY": "p", "PATH": "/bin", "NO_PROXY": ""}) == {"HTTPS_PROXY": "p"}


# Requests ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def vendor() -> Iterator[Sandbox]:
    dataset = Dataset(seed=1, today=TODAY, days=3, per_day=4, until=NOW.time())
    with Sandbox(token=TOKEN, dataset=dataset, now=NOW) as running:
        yield running


@pytest.fixture
def https(vendor: Sandbox, authority: Authority) -> Iterator[str]:
    """The base URL of the vendor over TLS."""
    with https_in_front_of(vendor.root, authority) as root:
        yield vendor.url.replace(vendor.root, root)


@contextmanager
def opened(url: str, route: Route, *, timeout: float = 20, deadline: float = 20) -> Iterator[Transport]:
    limits = RequestLimits(timeout, deadline, 1 << 26)
    redact = Redactor([TOKEN, PASSWORD])
    transport = Transport(
        url, TOKEN, limits, user_agent="billing-etl/test", redact=redact, route=route, names=environment_names()
    )
    try:
        yield transport
    finally:
        transport.close()


def answer(url: str, route: Route) -> bytes:
    sink = io.BytesIO()
    with opened(url, route) as transport:
        transport.request("POST", "post_billing_data", sink, body=BODY)
    return sink.getvalue()


def failure(url: str, route: Route, **limits: float) -> VendorError:
    with opened(url, route, **limits) as transport, pytest.raises(VendorError) as failed:
        transport.request("POST", "post_billing_data", io.BytesIO(), body=BODY)
    assert leaks(error_text(failed.value)) == []
    return failed.value


def test_a_configured_authority_is_trusted(https, authority):
    assert answer(https, Route(ca_path=authority.ca_file)).startswith(b'{"success": true')


def test_an_unknown_authority_is_refused_with_the_remedy(https, vendor):
    error = failure(https, Route())
    assert type(error) is RequestRejected
    assert str(error) == (
        "the certificate of 127.0.0.1 cannot be trusted (unable to get local issuer certificate); trusted are the "
        "certificates of the certifi package; set BILLING_CA_FILE to a file with those of the authority that signed it"
    )
    assert vendor.requests == []


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"days": -1}, "has expired); is this machine's clock right?"),
        ({"names": "DNS:other.example"}, "certificate is not valid for '127.0.0.1'); correct the host"),
    ],
)
def test_the_problem_with_a_certificate_is_named(vendor, tmp_path, made, words):
    authority = new_authority(tmp_path, **made)
    with https_in_front_of(vendor.root, authority) as root:
        error = failure(root, Route(ca_path=authority.ca_file))
    assert type(error) is RequestRejected
    assert str(error).endswith(words)


@pytest.mark.fault(25)
@pytest.mark.parametrize(
    ("userinfo", "credentials"),
    [("", None), (f"user:{PASSWORD}", f"user:{PASSWORD}"), ("u%40corp:%D0%BF%3A%2F", "u@corp:п:/")],
)
def test_a_request_goes_through_the_proxy_which_sees_neither_path_nor_token(https, authority, userinfo, credentials):
    with forward_proxy(credentials=credentials) as proxy:
        url = proxy.url_with(userinfo) if userinfo else proxy.url
        assert answer(https, Route(Proxy(url, "BILLING_PROXY"), ca_path=authority.ca_file)).startswith(b'{"succ')
    [seen] = proxy.seen
    assert seen.startswith(f"CONNECT {https.split('/')[2]} HTTP/1.")
    assert leaks(seen, [TOKEN]) == []
    assert "authcalls" not in seen


def test_a_proxy_can_be_used_over_tls(https, authority, tmp_path):
    with forward_proxy(credentials=f"user:{PASSWORD}") as proxy, https_in_front_of(proxy.url, authority) as secure:
        url = secure.replace("https://", f"https://user:{PASSWORD}@")
        route = Route(Proxy(url, "HTTPS_PROXY"), ca_path=authority.ca_file)
        assert answer(https, route).startswith(b'{"success": true')
        error = failure(https, Route(Proxy(url, "HTTPS_PROXY"), ca_path=new_authority(tmp_path).ca_file))
    assert len(proxy.seen) == 1
    assert type(error) is RequestRejected
    assert str(error).startswith(f"the certificate of the proxy {secure} (HTTPS_PROXY) cannot be trusted (")


@pytest.mark.fault(25)
def test_a_plain_request_never_uses_a_proxy(vendor):
    with forward_proxy() as proxy:
        assert answer(vendor.url, Route(Proxy(proxy.url, "HTTPS_PROXY"))).startswith(b'{"success": true')
    assert proxy.seen == []


@pytest.mark.parametrize(
    ("userinfo", "words"), [("", "needs a user and a password"), (f"u:{PASSWORD}", "refused the user and password")]
)
def test_a_proxy_that_refuses_the_password_is_named_without_the_password(https, authority, userinfo, words):
    with forward_proxy(credentials="other:password") as proxy:
        url = proxy.url_with(userinfo) if userinfo else proxy.url
        error = failure(https, Route(Proxy(url, "HTTPS_PROXY"), ca_path=authority.ca_file))
    assert type(error) is RequestRejected
    assert str(error) == (
        f"the proxy {proxy.url} (HTTPS_PROXY) {words} (HTTP 407); set HTTPS_PROXY to http://USER:PASSWORD@HOST:PORT"
    )


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (403, RequestRejected, "refused to connect to 127.0.0.1 (HTTP 403); allow the host at the proxy"),
        (429, RetryableError, "could not connect to 127.0.0.1 (HTTP 429)"),
        (503, RetryableError, "could not connect to 127.0.0.1 (HTTP 503)"),
        (302, RetryableError, "could not connect to 127.0.0.1 (HTTP 302)"),
    ],
)
def test_a_proxy_that_opens_no_tunnel_is_named(https, status, kind, words):
    with forward_proxy(answer=f"HTTP/1.1 {status} No {TOKEN}\r\nLocation: http://127.0.0.1:9/\r\n\r\n") as proxy:
        error = failure(https, Route(Proxy(proxy.url, "HTTPS_PROXY")))
    assert (type(error), str(error)) == (kind, f"the proxy {proxy.url} (HTTPS_PROXY) {words}")
    assert len(proxy.seen) == 1


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("127.0.0.1:1", "the connection was refused"),
        ("no.such.host.invalid:1", "the host name cannot be resolved"),
    ],
)
def test_an_unreachable_proxy_is_named(https, proxy, words):
    error = failure(https, Route(Proxy(f"http://u:{PASSWORD}@{proxy}", "HTTPS_PROXY")))
    assert type(error) is RetryableError
    assert str(error) == f"the proxy http://{proxy} (HTTPS_PROXY) cannot be reached: {words}"


def test_a_plain_proxy_with_an_https_url_is_refused_with_the_remedy(https, authority):
    with forward_proxy() as proxy:
        url = proxy.url.replace("http:", "https:")
        error = failure(https, Route(Proxy(url, "HTTPS_PROXY"), ca_path=authority.ca_file))
    assert str(error).startswith(f"the proxy {url} (HTTPS_PROXY) cannot be reached: the TLS connection failed")
    assert str(error).endswith("; is its URL http:// instead?")


def test_a_proxy_that_closes_the_connection_is_named(https):
    with forward_proxy(answer="") as proxy:
        error = failure(https, Route(Proxy(proxy.url, "HTTPS_PROXY")))
    assert type(error) is RetryableError
    assert str(error).endswith(f", through the proxy {proxy.url} (HTTPS_PROXY)")


def test_a_certificate_replaced_by_a_proxy_is_refused(vendor, https, authority, tmp_path):
    inspecting = new_authority(tmp_path)
    with https_in_front_of(vendor.root, inspecting) as root:
        url = vendor.url.replace(vendor.root, root)
        with forward_proxy() as proxy:
            through = Proxy(proxy.url, "HTTPS_PROXY")
            assert type(failure(url, Route(through, ca_path=authority.ca_file))) is RequestRejected
            assert vendor.requests == []
            assert answer(url, Route(through, ca_path=inspecting.ca_file)).startswith(b'{"success": true')


@pytest.mark.fault(23, 26)
def test_a_redirect_is_not_followed_through_a_proxy(vendor, https, authority):
    with (
        Sandbox(token=TOKEN, dataset=vendor.dataset, now=NOW) as elsewhere,
        https_in_front_of(elsewhere.root, authority) as root,
        forward_proxy() as proxy,
    ):
        vendor.faults.add("redirect", status=307, location=root)
        error = failure(https, Route(Proxy(proxy.url, "HTTPS_PROXY"), ca_path=authority.ca_file))
        assert str(error) == "a redirect (HTTP 307), which is never followed"
        assert elsewhere.requests == []
    assert len(proxy.seen) == 1


@pytest.mark.fault(25)
def test_a_netrc_is_never_read(vendor, authority, monkeypatch, tmp_path):
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine 127.0.0.1 login user password {PASSWORD}\ndefault login user password {PASSWORD}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    log = bytearray()
    with https_in_front_of(vendor.root, authority, log) as root, forward_proxy() as proxy:
        for route in (Route(ca_path=authority.ca_file), Route(Proxy(proxy.url, "P"), ca_path=authority.ca_file)):
            assert answer(vendor.url.replace(vendor.root, root), route)
    assert "Authorization" not in proxy.seen[0]
    assert log.count(b"User-Agent: billing-etl/test") == 2
    assert b"Authorization" not in log


@pytest.mark.fault(25)
def test_the_transport_reads_no_environment_variable(vendor, https, authority, monkeypatch):
    with forward_proxy() as proxy:
        for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file")
        assert answer(https, Route(ca_path=authority.ca_file))
    assert proxy.seen == []


@pytest.mark.parametrize("fault", ["hang", "drip_headers", "drip_body"])
def test_the_deadline_applies_through_a_proxy(vendor, https, authority, fault):
    vendor.faults.add(fault, seconds=600)
    with forward_proxy() as proxy:
        route = Route(Proxy(proxy.url, "HTTPS_PROXY"), ca_path=authority.ca_file)
        error = failure(https, route, deadline=0.5)
    assert str(error) == (
        f"no complete answer within BILLING_REQUEST_DEADLINE, through the proxy {proxy.url} (HTTPS_PROXY)"
    )
