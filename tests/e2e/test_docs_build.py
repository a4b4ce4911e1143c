"""The documentation builds: a site without broken links, and a man page."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

from support.doc_examples import HOME
from support.external_tools import tool

from etl.cli.app import cli
from etl.config.schema import SETTINGS
from etl.exit_codes import EXIT_CODES

MAN_PAGE = HOME / "docs" / "billing-etl.1"
PAGE_OF_WORD = {
    "idempotent": "explanation/incremental",
    "incremental": "explanation/incremental",
    "monitoring": "how-to/monitoring",
    "permissions": "how-to/permissions",
    "precedence": "reference/configuration",
    "proxy": "how-to/proxy",
    "retention": "how-to/retention",
    "scheduling": "how-to/scheduling",
    "troubleshooting": "how-to/troubleshooting",
    "uninstall": "how-to/uninstall",
}
"""Words that users search for, and the page with the word in its title or in a heading."""


def build(builder: str, folder: Path, *options: str) -> Path:
    """Build the docs with Sphinx; every warning is an error, including broken links."""
    strictly = ["--fail-on-warning", "--keep-going", "--nitpicky", "--quiet", "--doctree-dir", str(folder / "trees")]
    command = [sys.executable, "-m", "sphinx", *strictly, *options, "--builder", builder, "docs", str(folder / "out")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, encoding="utf-8", cwd=HOME)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder / "out"


class Text(HTMLParser):
    """The words of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.words: list[str] = []
        self.feed(page.read_text("utf-8"))

    def handle_data(self, data: str) -> None:
        self.words += data.split()


def pages_with_heading(site: Path, word: str) -> set[str]:
    """The pages that the site's search finds by a title or heading with the word."""
    script = (site / "searchindex.js").read_text("utf-8").strip()
    index = json.loads(script.removeprefix("Search.setIndex(").removesuffix(")"))
    titles = index["alltitles"].items()
    return {index["docnames"][page] for title, places in titles if word in title.lower() for page, _ in places}


def test_the_site_builds_without_warnings_and_lists_all_commands_and_codes(tmp_path: Path) -> None:
    site = build("html", tmp_path)
    pages = {page.relative_to(HOME / "docs").with_suffix("") for page in (HOME / "docs").rglob("*.md")} - {Path("man")}
    assert {page for page in pages if not (site / f"{page}.html").exists()} == set()
    assert {setting.variable for setting in SETTINGS} <= set(Text(site / "reference" / "settings.html").words)
    assert {str(code) for code in EXIT_CODES} <= set(Text(site / "reference" / "exit-codes.html").words)
    assert set(cli.commands) <= set(Text(site / "reference" / "commands.html").words)
    assert {word for word, page in PAGE_OF_WORD.items() if page not in pages_with_heading(site, word)} == set()


def test_the_committed_man_page_is_current(tmp_path: Path) -> None:
    built = build("man", tmp_path, "--tag", "man") / "billing-etl.1"
    assert MAN_PAGE.read_text("utf-8") == built.read_text("utf-8"), "run: make man"


def test_man_renders_the_page_without_warnings() -> None:
    command = [tool("man"), "--warnings", "--local-file", str(MAN_PAGE)]
    variables = {"LC_ALL": "C.UTF-8", "MANWIDTH": "80", "PATH": "/usr/bin:/bin"}
    shown = subprocess.run(command, check=True, capture_output=True, text=True, env=variables)
    assert shown.stderr == ""
    assert [title for title in ("NAME", "SYNOPSIS", "EXIT STATUS") if f"\n{title}\n" not in shown.stdout] == []
    assert "billing-etl - charges of a Telefon-IP account into your SQL database" in shown.stdout
