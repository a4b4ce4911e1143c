"""README and docs name settings, views and exit codes that exist. Command lines run in e2e/test_doc_examples.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.doc_examples import HOME, PAGES

from etl.cli import cli
from etl.config.schema import SETTINGS, Setting
from etl.db.view_columns import VIEW_COLUMNS
from etl.exit_codes import EXIT_CODES
from etl.orchestration.settings import VARIABLES

README = (HOME / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (HOME / "CONTRIBUTING.md").read_text(encoding="utf-8")
DICTIONARY = (HOME / "docs" / "dictionary.md").read_text(encoding="utf-8")
RELIABILITY = (HOME / "docs" / "reliability.md").read_text(encoding="utf-8")
FAILURE_MODES = (HOME / "docs" / "explanation" / "failure-modes.md").read_text(encoding="utf-8")
TROUBLESHOOTING = (HOME / "docs" / "how-to" / "troubleshooting.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.variable)
def test_every_setting_is_in_the_help_with_its_default(setting: Setting) -> None:
    help_text = CliRunner().invoke(cli, ["help", "settings"]).output
    assert setting.variable in help_text
    if setting.default is not None:
        assert f"{setting.variable} [{setting.default}]" in help_text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_an_unknown_setting(page: Path) -> None:
    known = {setting.variable for setting in SETTINGS} | {f"{s.variable}_FILE" for s in SETTINGS if s.secret}
    known |= set(VARIABLES)
    assert set(re.findall(r"BILLING_[A-Z_]+[A-Z]", page.read_text(encoding="utf-8"))) <= known


def test_every_view_is_in_the_table_of_the_dictionary() -> None:
    table = DICTIONARY.partition("| view | one row per |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE) == list(VIEW_COLUMNS)


def test_the_queries_of_the_readme_name_views_and_their_columns() -> None:
    queries = re.findall(r"^SELECT ([\w, ]+) FROM (\w+) ORDER BY (\w+);$", README, re.MULTILINE)
    assert len(queries) == README.count("SELECT") == 2
    for columns, view, order in queries:
        assert {*columns.split(", "), order} <= {column.name for column in VIEW_COLUMNS[view]}


@pytest.mark.parametrize("code", EXIT_CODES)
def test_every_exit_code_is_in_help_and_troubleshooting(code: int) -> None:
    assert f"  {code:<3}  {EXIT_CODES[code]}" in CliRunner().invoke(cli, ["help", "exit-codes"]).output
    assert f"### Exit code {code}\n" in TROUBLESHOOTING


def test_the_readme_names_exit_codes_that_exist() -> None:
    sentence = README.partition("The exit code is ")[2].partition("[another one]")[0]
    assert {int(code) for code in re.findall(r"\d+(?= \()", sentence)} == {0, 65, 69, 78}
    assert {0, 65, 69, 78} <= set(EXIT_CODES)


def guarantees(text: str) -> list[tuple[str, str]]:
    """Number and title of each guarantee of a page."""
    section = text.partition("## Guarantees\n")[2].partition("\n## ")[0]
    return re.findall(r"^(\d)\. \*\*(.+?)\*\*", section, re.MULTILINE)


def test_the_guarantees_of_the_readme_are_those_of_the_page_on_reliability() -> None:
    assert guarantees(README) == guarantees(RELIABILITY) != []


def test_the_number_of_faults_is_that_of_the_page_on_failure_modes() -> None:
    rows = re.findall(r"^\| (\d+) \|", FAILURE_MODES, re.MULTILINE)
    for page in (README, FAILURE_MODES):
        assert re.findall(r"(\d+) faults", page) == [str(len(rows))]


def test_the_commands_without_make_are_those_of_the_makefile() -> None:
    makefile = (HOME / "Makefile").read_text(encoding="utf-8")
    for words in ("--require-hashes", "requirements/dev.lock", "--no-deps", "--no-build-isolation", "pytest -n auto"):
        assert words in makefile
        assert words in CONTRIBUTING


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
