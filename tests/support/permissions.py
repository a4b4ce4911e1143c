"""Commands that are subject to file permissions, also under root."""

from __future__ import annotations

import os
import shutil

import pytest


def as_user(command: list[str]) -> list[str]:
    """The command without root's privilege to read and write everything."""
    if os.geteuid() != 0:
        return command
    if shutil.which("setpriv") is None:
        pytest.skip("root ignores file permissions, and setpriv is not installed")
    kept = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={kept}", f"--inh-caps={kept}", *command]
