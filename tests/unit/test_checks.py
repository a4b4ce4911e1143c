"""What `check` says of a setting that works and could be better."""

from __future__ import annotations

import pytest

from etl.checks.runner import explain_encryption
from etl.config.database_url import parse_url


@pytest.mark.fault(100)
@pytest.mark.parametrize(
    ("url", "cure"),
    [
        ("postgresql://u@db.example/b", "sslmode=verify-full"),
        ("postgresql://u@db.example/b?sslmode=require", "sslmode=verify-full"),
        ("mariadb://u@db.example/b", "ssl_ca=FILE"),
    ],
)
def test_a_server_elsewhere_that_proves_nothing_is_mentioned_with_the_cure(url, cure):
    assert f"add ?{cure} to BILLING_DATABASE_URL" in explain_encryption(parse_url(url))


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
def test_a_server_that_is_here_or_proves_itself_is_no_matter(url):
    assert explain_encryption(parse_url(url)) == ""
