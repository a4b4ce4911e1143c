"""Programs that some tests need: a browser, promtool, systemd-analyze, openssl, RabbitMQ, from Debian's packages.

Where one is not there, its tests are skipped and say why; with REQUIRE_TOOLS=1 that is a failure.
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
    """The path of a program; without it the test is skipped, or fails where it is required."""
    path = shutil.which(name)
    if path is None:
        reason = f"{name} is not on this machine; apt-get install {PACKAGES[name]}"
        if os.environ.get("REQUIRE_TOOLS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return path
