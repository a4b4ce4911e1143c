"""The README says what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from etl.cli import cli
from etl.load.views import VIEWS
from etl.settings import SETTINGS, Setting

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.variable)
def test_every_setting_stands_in_the_readme_and_in_the_help_with_its_default(setting: Setting) -> None:
    row = next(
        line for line in README.splitlines() if line.startswith("| `BILLING_") and f"`{setting.variable}`" in line
    )
    help_text = CliRunner().invoke(cli, ["--help"]).output
    assert setting.variable in help_text
    if setting.default is not None:
        assert setting.default in row
        assert f"{setting.variable} [{setting.default}]" in help_text


def test_the_readme_names_no_setting_that_is_none() -> None:
    known = {setting.variable for setting in SETTINGS} | {f"{s.variable}_FILE" for s in SETTINGS if s.secret}
    assert set(re.findall(r"BILLING_[A-Z_]+[A-Z]", README)) <= known


def test_every_view_and_every_command_of_the_readme_is_there() -> None:
    assert set(re.findall(r"^\| `([a-z_]+)` \|", README, re.MULTILINE)) == set(VIEWS)
    commands = set(re.findall(r"billing-etl (?:-q )?([a-z]+)", README)) - {"compares", "is"}
    assert commands <= set(cli.commands)


def test_the_commands_without_make_are_those_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in ("--require-hashes", "requirements/dev.lock", "--no-deps", "--no-build-isolation", "pytest -n auto"):
        assert words in makefile
        assert words in README


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.lock")), ids=lambda path: path.name)
def test_a_lock_file_carries_names_versions_and_hashes_only(lock: Path) -> None:
    lines = [line.strip().removesuffix("\\").strip() for line in lock.read_text(encoding="utf-8").splitlines()]
    pinned = re.compile(r"(--hash=sha256:[0-9a-f]{64}|[a-z0-9._-]+==[^ ]+( ; .*)?)")
    assert [line for line in lines if line and not pinned.fullmatch(line)] == []
