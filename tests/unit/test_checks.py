"""Recommendations of `check` about settings that work but could be safer."""

from __future__ import annotations

import pytest

from etl.checks.runner import explain_encryption
from etl.config.database_url import parse_url


@pytest.mark.fault(100)
@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("postgresql://u@db.example/b", "sslmode=verify-full"),
        ("postgresql://u@db.example/b?sslmode=require", "sslmode=verify-full"),
        ("mariadb://u@db.example/b", "ssl_ca=FILE"),
    ],
)
def test_a_remote_server_without_verified_tls_is_reported_with_the_remedy(url, remedy):
    assert f"add ?{remedy} to BILLING_DATABASE_URL" in explain_encryption(parse_url(url))


@pytest.mark.fault(100)
@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///billing.db",
        "postgresql://u@127.0.0.1/b",
        "postgresql:///b",
        "postgresql://u@db.example/b?sslmode=verify-full",
        "postgresql://u@db.example/b?sslmode=verify-ca",
        "mariadb://u@db.example/b?ssl_ca=/etc/ssl/certs/db.pem",
    ],
)
def test_a_local_or_verified_server_is_not_reported(url):
    assert explain_encryption(parse_url(url)) == ""
