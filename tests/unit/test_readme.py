"""README and docs name every setting, view and exit code. Their command lines run in e2e/test_doc_examples.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.doc_examples import HOME, PAGES

from etl.cli import cli
from etl.cli.exit_codes import EXIT_CODES
from etl.config.schema import SETTINGS, Setting
from etl.db.views import VIEWS
from etl.orchestration.settings import VARIABLES

README = (HOME / "README.md").read_text(encoding="utf-8")
TROUBLESHOOTING = (HOME / "docs" / "how-to" / "troubleshooting.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.variable)
def test_every_setting_is_in_the_readme_and_the_help_with_its_default(setting: Setting) -> None:
    row = next(
        line for line in README.splitlines() if line.startswith("| `BILLING_") and f"`{setting.variable}`" in line
    )
    help_text = CliRunner().invoke(cli, ["help", "settings"]).output
    assert setting.variable in help_text
    if setting.default is not None:
        assert setting.default in row
        assert f"{setting.variable} [{setting.default}]" in help_text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_an_unknown_setting(page: Path) -> None:
    known = {setting.variable for setting in SETTINGS} | {f"{s.variable}_FILE" for s in SETTINGS if s.secret}
    known |= set(VARIABLES)
    assert set(re.findall(r"BILLING_[A-Z_]+[A-Z]", page.read_text(encoding="utf-8"))) <= known


def test_every_view_named_in_the_readme_exists() -> None:
    assert set(re.findall(r"^\| `([a-z_]+)` \|", README, re.MULTILINE)) == set(VIEWS)


@pytest.mark.parametrize("code", EXIT_CODES)
def test_every_exit_code_is_in_readme_help_and_troubleshooting(code: int) -> None:
    table = README.partition("| exit code |")[2].partition("\n\n")[0]
    assert re.search(rf"^\|[\d, ]*\b{code}\b[\d, ]*\|", table, re.MULTILINE)
    assert f"  {code:<3}  {EXIT_CODES[code]}" in CliRunner().invoke(cli, ["help", "exit-codes"]).output
    assert f"### Exit code {code}\n" in TROUBLESHOOTING


def test_the_commands_without_make_are_those_of_the_makefile() -> None:
    makefile = (HOME / "Makefile").read_text(encoding="utf-8")
    for words in ("--require-hashes", "requirements/dev.lock", "--no-deps", "--no-build-isolation", "pytest -n auto"):
        assert words in makefile
        assert words in README


def headings(page: Path) -> set[str]:
    """The anchors of a page on a forge such as GitHub."""
    lines = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", [*PAGES, HOME / "SECURITY.md", HOME / "CHANGELOG.md"], ids=lambda page: page.name)
def test_every_link_works_on_a_forge(page: Path) -> None:
    links = re.findall(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text(encoding="utf-8"))
    for path, anchor in links:
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in headings(target), f"{path}#{anchor}"


@pytest.mark.parametrize("lock", sorted((HOME / "requirements").glob("*.lock")), ids=lambda path: path.name)
def test_a_lock_file_has_only_names_versions_and_hashes(lock: Path) -> None:
    lines = [line.strip().removesuffix("\\").strip() for line in lock.read_text(encoding="utf-8").splitlines()]
    pinned = re.compile(r"(--hash=sha256:[0-9a-f]{64}|[a-z0-9._-]+==[^ ]+( ; .*)?)")
    assert [line for line in lines if line and not pinned.fullmatch(line)] == []
