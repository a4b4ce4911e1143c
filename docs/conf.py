"""The documentation site, and the man page: `make docs`, `make man`.

Tables that repeat the code are generated: a line `<!-- table: NAME -->` of a page is replaced by the table of that name
when the site is built. `SECTIONS` is the table of contents.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import etl
from etl import api
from etl.config.schema import SETTINGS, Setting
from etl.exit_codes import EXIT_CODES
from etl.ops.metrics import METRICS

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
SECTIONS: dict[str, tuple[str, ...]] = {
    "Tutorial": ("tutorial/quickstart",),
    "How-to: run the job": (
        *("how-to/install", "how-to/scheduling", "how-to/databases", "how-to/permissions", "how-to/accounts"),
        *("how-to/proxy", "how-to/monitoring", "how-to/troubleshooting", "how-to/maintenance", "how-to/retention"),
        *("how-to/dagster", "how-to/airflow", "how-to/privacy", "how-to/uninstall"),
    ),
    "How-to: use the data": (
        *("how-to/report", "how-to/dashboard", "how-to/export", "how-to/lake"),
        *("how-to/superset", "how-to/grafana", "how-to/metabase", "how-to/power-bi", "how-to/excel-odbc", "how-to/dbt"),
        *("how-to/channels", "how-to/month-close", "how-to/balance", "how-to/recent-records", "how-to/late-data"),
        "how-to/numbering-plan",
    ),
    "Reference": (
        *("reference/commands", "reference/configuration", "reference/settings", "reference/exit-codes"),
        *("reference/metrics", "reference/api", "dictionary"),
    ),
    "Explanation": (
        *("explanation/source-day", "explanation/incremental", "explanation/watermark", "explanation/identity"),
        *("explanation/money", "reliability", "explanation/failure-modes", "performance"),
        "explanation/scaling",
        "explanation/mutation-testing",
    ),
}
"""Pages by caption, in reading order. Pages that are missing here are listed under "More"."""

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
# Printed in place of the date of the man page, so that the page changes with its source only and a test can compare it.
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
    """The variable of a setting, and the variable of its secret file."""
    return (setting.variable, f"{setting.variable}_FILE") if setting.secret else (setting.variable,)


def contents() -> str:
    """The table of contents: one toctree per caption, with the pages that exist."""
    existing = {str(path.relative_to(HERE).with_suffix("")) for path in HERE.rglob("*.md")} - {"index", "man"}
    others = tuple(sorted(existing.difference(*SECTIONS.values())))
    return "\n".join(
        f"```{{toctree}}\n:caption: {caption}\n:maxdepth: 1\n\n"
        + "\n".join(filter(existing.__contains__, pages))
        + "\n```\n"
        for caption, pages in {**SECTIONS, "More": others}.items()
    )


def exit_code_rows() -> Iterable[tuple[str, ...]]:
    """Code and meaning; each code links to its section of Troubleshooting."""
    for code, meaning in EXIT_CODES.items():
        yield f"[{code}](../how-to/troubleshooting.md#exit-code-{code})", meaning


def metric_rows() -> Iterable[tuple[str, ...]]:
    """Name, labels, meaning."""
    for metric in METRICS:
        labels = ("account", metric.label) if metric.label else ("account",)
        yield f"`{metric.name}`", ", ".join(f"`{label}`" for label in labels), metric.meaning


def field_rows(record: type) -> Iterable[tuple[str, ...]]:
    """Field, type, and meaning by the docstring of the class."""
    meanings = re.findall(r"^    (\w+): (.+(?:\n {8,}.+)*)", record.__doc__ or "", re.MULTILINE)
    types = {name: getattr(kind, "__forward_arg__", kind) for name, kind in record.__annotations__.items()}
    return [(f"`{name}`", f"`{types[name]}`", " ".join(meaning.split())) for name, meaning in meanings]


def table(*head: str, rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = (head, tuple("---" for _ in head), *rows)
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n" for cells in lines)


def definitions(rows: Iterable[tuple[str, str]]) -> str:
    """A definition list in Markdown."""
    return "\n".join(f"{term}\n: {meaning}\n" for term, meaning in rows)


TABLES: dict[str, Callable[[], str]] = {
    "contents": contents,
    "settings": lambda: table("variable", "default", "meaning", rows=setting_rows()),
    "exit codes": lambda: table("code", "meaning", rows=exit_code_rows()),
    "metrics": lambda: table("metric", "labels", "meaning", rows=metric_rows()),
    "run result": lambda: table("field", "type", "meaning", rows=field_rows(api.RunResult)),
    "run rows": lambda: table("field", "type", "meaning", rows=field_rows(api.RunRows)),
    "day change": lambda: table("field", "type", "meaning", rows=field_rows(api.DayChange)),
    "list of settings": lambda: definitions(
        (variables, meaning if default == "–" else f"{meaning} [{default}]")
        for variables, default, meaning in setting_rows()
    ),
    "list of exit codes": lambda: definitions((str(code), meaning) for code, meaning in EXIT_CODES.items()),
}


def fill_in_tables(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Replace the table markers of a page; `source` is a list with the text of the page as its only item."""
    text = re.sub(r"<!-- table: ([a-z ]+) -->", lambda match: TABLES[match[1]](), source[0])
    # The README is not part of the site: its index page takes the README's place.
    source[0] = re.sub(r"\]\(((?:\.\./)*)\.\./README\.md(#[\w-]+)?\)", r"](\1index.md)", text)


def leave_out_epilog(_app: Sphinx, context: Any, lines: list[str]) -> None:
    """Drop the epilog of the program, settings and exit codes, which have their own pages; keep those of commands."""
    if context.parent is None:
        lines.clear()


def setup(app: Sphinx) -> None:
    """Connect the event handlers."""
    app.connect("source-read", fill_in_tables)
    app.connect("sphinx-click-process-epilog", leave_out_epilog)
