"""Programs that some tests need: a browser, promtool, systemd-analyze, openssl, RabbitMQ, from Debian's packages.

Tests of a missing program are skipped with the reason; with REQUIRE_TOOLS=1 they fail.
"""

from __future__ import annotations

import os
import shutil

import pytest

PACKAGES = {
    "chromium": "chromium",
    "promtool": "prometheus",
    "systemd-analyze": "systemd",
    "man": "man-db",
    "git": "git",
    "openssl": "openssl",
    "pgbouncer": "pgbouncer",
    "rabbitmqctl": "rabbitmq-server",
}
"""The Debian package of each program."""


def tool(name: str) -> str:
    """The path of a program; if it is missing, the test is skipped, or fails with REQUIRE_TOOLS=1."""
    path = shutil.which(name)
    if path is None:
        reason = f"{name} is not installed; apt-get install {PACKAGES[name]}"
        if os.environ.get("REQUIRE_TOOLS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return path
