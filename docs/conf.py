"""The documentation site, and the man page: `make docs`, `make man`.

What the code knows already is not written down twice: where a page has a line `<!-- table: NAME -->`, the table of that
name is put when the site is built. The map of the site is `SECTIONS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import etl
from etl.cli.exit_codes import EXIT_CODES
from etl.config.schema import SETTINGS, Setting
from etl.ops.metrics import METRICS

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
SECTIONS: dict[str, tuple[str, ...]] = {
    "Begin": ("quickstart",),
    "Run it": ("install", "configuration", "databases", "grants", "monitoring", "care", "privacy", "runbook"),
    "Use the figures": ("report", "dashboard", "superset", "export", "balance", "newest", "lateness", "numbering"),
    "Understand it": (
        *("explanation/source-day", "explanation/identity", "explanation/watermark", "explanation/money"),
        *("reliability", "faults", "performance", "mutation"),
    ),
    "Look it up": (
        "reference/commands",
        "reference/settings",
        "reference/exit-codes",
        "reference/metrics",
        "dictionary",
    ),
}
"""Pages by caption, in the order of reading. A page that is nowhere among them comes under "And": none is lost."""

project = "billing-etl"
author = "the authors of billing-etl"
version = release = etl.__version__
extensions = ["myst_parser", "sphinx_click"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
nitpicky = True
html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
html_show_copyright = False
# Of a man page, this stands where the date would: the page changes with its source alone, so a test can hold the two
# together.
today = f"{project} {release}"
man_pages = [("man", "billing-etl", "charges of a Telefon-IP account into your SQL database", [], 1)]
root_doc, include_patterns, exclude_patterns = "index", ["**"], ["man.md"]
if tags.has("man"):  # type: ignore[name-defined]  # noqa: F821 - Sphinx's own: sphinx-build --tag
    root_doc, include_patterns, exclude_patterns = "man", ["man.md"], []


def setting_rows() -> Iterable[tuple[str, ...]]:
    """Variable, default, meaning."""
    for setting in SETTINGS:
        variables = " or ".join(f"`{name}`" for name in variables_of(setting))
        yield variables, f"`{setting.default}`" if setting.default is not None else "–", setting.meaning


def variables_of(setting: Setting) -> tuple[str, ...]:
    """The setting's variable, and that of the file its value may stand in."""
    return (setting.variable, f"{setting.variable}_FILE") if setting.secret else (setting.variable,)


def contents() -> str:
    """The map of the site: those of its pages that are there."""
    there = {str(path.relative_to(HERE).with_suffix("")) for path in HERE.rglob("*.md")} - {"index", "man"}
    others = tuple(sorted(there.difference(*SECTIONS.values())))
    return "\n".join(
        f"```{{toctree}}\n:caption: {caption}\n:maxdepth: 1\n\n"
        + "\n".join(filter(there.__contains__, pages))
        + "\n```\n"
        for caption, pages in {**SECTIONS, "And": others}.items()
    )


def exit_code_rows() -> Iterable[tuple[str, ...]]:
    """Code, meaning; each code leads to its part of the runbook."""
    for code, meaning in EXIT_CODES.items():
        yield f"[{code}](../runbook.md#exit-code-{code})", meaning


def metric_rows() -> Iterable[tuple[str, ...]]:
    """Name, labels, meaning."""
    for metric in METRICS:
        labels = ("account", metric.label) if metric.label else ("account",)
        yield f"`{metric.name}`", ", ".join(f"`{label}`" for label in labels), metric.meaning


def table(*head: str, rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = (head, tuple("---" for _ in head), *rows)
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n" for cells in lines)


def definitions(rows: Iterable[tuple[str, str]]) -> str:
    """Terms, each with its definition under it."""
    return "\n".join(f"{term}\n: {meaning}\n" for term, meaning in rows)


TABLES: dict[str, Callable[[], str]] = {
    "contents": contents,
    "settings": lambda: table("variable", "default", "meaning", rows=setting_rows()),
    "exit codes": lambda: table("code", "meaning", rows=exit_code_rows()),
    "metrics": lambda: table("metric", "labels", "meaning", rows=metric_rows()),
    "list of settings": lambda: definitions(
        (variables, meaning if default == "–" else f"{meaning} [{default}]")
        for variables, default, meaning in setting_rows()
    ),
    "list of exit codes": lambda: definitions((str(code), meaning) for code, meaning in EXIT_CODES.items()),
}


def fill_in_tables(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Put each table where the page asks for it; Sphinx hands the page's text over in a list of one."""
    text = re.sub(r"<!-- table: ([a-z ]+) -->", lambda match: TABLES[match[1]](), source[0])
    # The front door of the repository, and that of the site.
    source[0] = re.sub(r"\]\(\.\./README\.md(#[\w-]+)?\)", "](index.md)", text)


def leave_out_epilog(_app: Sphinx, context: Any, lines: list[str]) -> None:
    """Drop the epilog of the program, settings and exit codes, which have their own pages; keep those of commands."""
    if context.parent is None:
        lines.clear()


def setup(app: Sphinx) -> None:
    """Connect the two to Sphinx."""
    app.connect("source-read", fill_in_tables)
    app.connect("sphinx-click-process-epilog", leave_out_epilog)
