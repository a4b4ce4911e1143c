"""`billing-etl report` on the command line."""

from __future__ import annotations

import json
import signal
import time

import pytest


def test_report_writes_a_page_and_prints_its_figures(synced):
    done = synced("report", "--out", "page.html", "--since", "2025-03-04", "--until", "2025-03-05", "--json")
    assert done.code == 0, done
    result = json.loads(done.out)
    assert {name: result[name] for name in result if name not in {"accounts", "closed_through"}} == {
        "path": "page.html", "currency": "RUB", "other_currencies": {}, "budget": None,
        "since": "2025-03-04", "until": "2025-03-05", "records": 6, "delivered": 6,
        "delivery_rate": "1.0000", "spend": "1.200000", "cost_per_delivery": "0.200000", "balance": result["balance"],
        "suspect_days": [], "exit_code": 0,
    }  # fmt: skip
    page = (synced.folder / "page.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert page.endswith("</html>\n")
    assert "Tue 4 Mar – Wed 5 Mar 2025" in page


def fake_library(source, folder, name="vl_convert"):
    """A folder for PYTHONPATH with a module that replaces the real one, because the renderer takes seconds."""
    folder.mkdir()
    (folder / f"{name}.py").write_text(source)
    return str(folder)


def test_a_report_to_stdout_is_only_the_page(synced, tmp_path):
    drawing = fake_library("def javascript_bundle(): return '/* it draws */'", tmp_path / "library")
    done = synced("report", "--out", "-", PYTHONPATH=drawing, BILLING_API_TOKEN=None)
    assert (done.code, done.errors) == (0, "-: 30 charges\n"), done
    assert done.out.startswith("<!doctype html>")
    assert "/* it draws */" in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("--out", "page.pdf"), 2, ".html"),
        (("--out", "-", "--json"), 2, "stdout"),
        (("--out", "a.html", "--since", "2025-03-02", "--until", "2025-03-01"), 2, "--until"),
        (("--out", "a.html", "--account", "nobody"), 78, "it has default"),
        ((), 2, "--out"),
    ],
)
def test_an_impossible_report_is_explained_and_leaves_no_file(synced, arguments, code, word):
    files = synced.files()
    done = synced("report", *arguments)
    assert (done.code, word in done.errors, synced.files()) == (code, True, files), done


def test_a_report_without_a_database_creates_neither_file_nor_database(billing):
    done = billing("report", "--out", "a.html")
    assert (done.code, "billing-etl sync" in done.errors, billing.files()) == (74, True, []), done


@pytest.mark.parametrize("library", ["jinja2", "vl_convert"])
def test_a_missing_library_of_the_report_names_the_extra(billing, tmp_path, library):
    missing = fake_library("raise ImportError", tmp_path / "library", library)
    done = billing("report", "--out", "a.html", PYTHONPATH=missing)
    assert (done.code, "pip install 'billing-etl[report]'" in done.errors, billing.files()) == (78, True, []), done


def test_a_signal_during_a_report_leaves_the_old_file(synced, tmp_path):
    (synced.folder / "a.html").write_text("old")
    slow = "import pathlib, time\ndef javascript_bundle():\n    pathlib.Path('started').touch()\n    time.sleep(3600)"
    process = synced.start("report", "--out", "a.html", PYTHONPATH=fake_library(slow, tmp_path / "library"))
    while not (synced.folder / "started").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert synced.finish(process).code == 143
    assert (synced.folder / "a.html").read_text() == "old"
