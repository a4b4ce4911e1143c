"""The example of docs/reference/api.md does what the page says."""

from __future__ import annotations

import subprocess
import sys
from inspect import getdoc, signature
from pathlib import Path

from etl import api

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "api.md"


def test_the_example_prints_what_the_page_shows(billing, vendor):
    other = "00000000-0000-4000-8000-000000000001"
    vendor.tokens.add(other)
    accounts = {"shop": billing.variables.pop("BILLING_API_TOKEN"), "office": other}
    config = billing.folder / "billing.toml"
    config.write_text("".join(f'[accounts.{label}]\napi_token = "{token}"\n' for label, token in accounts.items()))
    config.chmod(0o600)
    done = subprocess.run(
        [sys.executable, "-m", "doctest", str(PAGE)], cwd=billing.folder, env=billing.environment({}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_page_shows_each_function_with_its_arguments():
    text = PAGE.read_text("utf-8")
    for function in (api.accounts, api.run, api.status, api.changes):
        names = list(signature(function).parameters)
        line = next(line for line in text.splitlines() if line.startswith(f"`{function.__name__}("))
        assert [name for name in names if name not in line] == []
        assert getdoc(function)
