"""Proxies, certificates and wrong addresses on the command line: messages and exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.secret_leaks import PASSWORD, TOKEN, leaks
from support.tunnels import Authority, ForwardProxy, forward_proxy, https_in_front_of

from etl.sandbox import Sandbox

SYNC = ("sync", "--until", "2025-03-10")


@pytest.fixture
def proxy() -> Iterator[ForwardProxy]:
    with forward_proxy(credentials=f"user:{PASSWORD}") as running:
        yield running


@pytest.fixture
def secure(billing, vendor: Sandbox, authority: Authority, proxy: ForwardProxy):
    """The vendor over TLS, behind a proxy with a password."""
    with https_in_front_of(vendor.root, authority) as root:
        billing.variables |= {
            "BILLING_API_URL": vendor.url.replace(vendor.root, root),
            "HTTPS_PROXY": proxy.url_with(f"user:{PASSWORD}"),
            "SSL_CERT_FILE": str(authority.ca_file),
        }
        yield billing


def test_a_run_goes_through_the_proxy_and_check_names_it(secure, proxy, vendor, authority):
    done = secure(*SYNC)
    assert done.code == 0, done
    assert proxy.seen
    assert vendor.requests
    done = secure("check")
    assert done.code == 0, done
    assert (
        f"✓ network: through the proxy {proxy.url} (HTTPS_PROXY); trusted are the certificates in {authority.ca_file} "
        "(SSL_CERT_FILE)\n"
    ) in done.out
    assert leaks(done.out + done.errors) == []


def test_billing_variables_take_precedence_over_common_ones(secure, proxy, authority, tmp_path):
    file = tmp_path / "proxy"
    file.write_text(proxy.url_with(f"user:{PASSWORD}"))
    file.chmod(0o600)
    changes = {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "*", "SSL_CERT_FILE": "/no/such/file"}
    own = {"BILLING_PROXY_FILE": str(file), "BILLING_CA_FILE": str(authority.ca_file)}
    done = secure("-vv", *SYNC, **changes, **own)
    assert done.code == 0, done
    assert proxy.seen
    assert leaks(done.out + done.errors) == []
    shown = json.loads(secure("config", "show", "--json", **changes, **own).out)["accounts"][0]["settings"]
    assert shown["BILLING_PROXY"] == {"value": "***", "source": f"environment: {file}"}
    assert shown["BILLING_CA_FILE"]["value"] == str(authority.ca_file)


def test_no_proxy_is_respected(secure, proxy):
    assert secure(*SYNC, NO_PROXY="127.0.0.1").code == 0
    assert proxy.seen == []
    assert "✓ network: no proxy (NO_PROXY excludes the host from HTTPS_PROXY); " in secure("check", NO_PROXY="*").out


def test_a_proxy_that_refuses_the_password_exits_69_and_is_named(secure, proxy):
    assert secure(*SYNC).code == 0
    for command in (SYNC, ("check",), ("verify",), ("recent",), ("balance",)):
        done = secure("-vv", *command, HTTPS_PROXY=proxy.url_with("user:another-secret"))
        assert done.code == 69, done
        assert leaks(done.out + done.errors, [PASSWORD, "another-secret"]) == []
        assert f"the proxy {proxy.url} (HTTPS_PROXY) refused the user and password (HTTP 407)" in done.out + done.errors


def test_a_proxy_that_is_down_exits_69_and_is_named(secure):
    done = secure(*SYNC, HTTPS_PROXY=f"http://user:{PASSWORD}@127.0.0.1:1")
    assert done.code == 69, done
    assert "the proxy http://127.0.0.1:1 (HTTPS_PROXY) cannot be reached: the connection was refused" in done.errors
    assert leaks(done.out + done.errors) == []


def test_an_unknown_authority_exits_69_with_the_remedy(secure, vendor):
    done = secure(*SYNC, SSL_CERT_FILE=None)
    assert done.code == 69, done
    assert "the certificate of 127.0.0.1 cannot be trusted" in done.errors
    assert "set BILLING_CA_FILE" in done.errors
    assert vendor.requests == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTPS_PROXY", f"socks5://user:{PASSWORD}@127.0.0.1:1080"),
        ("HTTPS_PROXY", f"http://user:{PASSWORD}/@127.0.0.1:1080"),
        ("BILLING_PROXY", f"user:{PASSWORD}@"),
        ("BILLING_PROXY_FILE", "/no/such/file"),
        ("BILLING_CA_FILE", "/no/such/file"),
        ("SSL_CERT_FILE", "/no/such/file"),
        ("BILLING_CA_FILE", __file__),
    ],
)
@pytest.mark.parametrize("command", [SYNC, ("check",)], ids=lambda words: words[0])
def test_a_wrong_network_setting_exits_78_before_any_request(secure, vendor, proxy, variable, value, command):
    done = secure("-vv", *command, **{variable: value})
    assert done.code == 78, done
    assert variable in done.out + done.errors
    assert leaks(done.out + done.errors) == []
    assert (vendor.requests, proxy.seen) == ([], [])


def test_commands_without_network_ignore_the_proxy(synced):
    changes = {"BILLING_API_URL": None, "HTTPS_PROXY": "socks5://127.0.0.1:1", "SSL_CERT_FILE": "/no/such/file"}
    assert synced("status", **changes).code == 0


def test_a_wrong_path_of_the_api_names_the_setting(billing, vendor):
    url = f"{vendor.root}/api/v2/authcalls"
    done = billing(*SYNC, BILLING_API_URL=url)
    assert done.code == 69, done
    assert f"is BILLING_API_URL right? It is {url}" in done.errors


def test_a_refused_token_is_named_by_its_source(billing, tmp_path):
    wrong = TOKEN.replace("7", "8")
    file = tmp_path / "token"
    file.write_text(wrong)
    file.chmod(0o600)
    done = billing(*SYNC, BILLING_API_TOKEN=wrong)
    assert done.code == 77, done
    assert "the vendor refused the token (HTTP 401); it comes from BILLING_API_TOKEN\n" in done.errors
    done = billing(*SYNC, BILLING_API_TOKEN=None, BILLING_API_TOKEN_FILE=str(file))
    assert f"it comes from {file} (BILLING_API_TOKEN_FILE)\n" in done.errors
    (billing.folder / ".env").write_text(f"BILLING_API_TOKEN={wrong}")
    (billing.folder / ".env").chmod(0o600)
    done = billing("check", BILLING_API_TOKEN=None)
    assert done.code == 77, done
    assert "it comes from BILLING_API_TOKEN in .env\n" in done.out
    credential = tmp_path / "billing_api_token"
    file.rename(credential)
    (billing.folder / ".env").unlink()
    done = billing(*SYNC, BILLING_API_TOKEN=None, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert f"it comes from {credential} (systemd credential)\n" in done.errors
    assert wrong not in done.errors
