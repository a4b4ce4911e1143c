"""Standard streams that are full, closed or unread, and usage errors with --json."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(command, arguments, **streams):
    """The exit code and stderr of a command with its own standard streams."""
    process = subprocess.run(
        [sys.executable, "-m", "etl", *arguments],
        cwd=command.folder,
        env=command.environment({}),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
        **streams,
    )
    return process.returncode, process.stderr


@pytest.mark.parametrize("arguments", [["runs"], ["status", "--json"], ["--help"], ["export", "--out", "-"], ["sync"]])
def test_a_full_stdout_is_reported_and_not_as_a_bug(synced, arguments):
    with Path("/dev/full").open("w") as full:
        code, errors = run(synced, arguments, stdout=full)
    assert (code, errors.splitlines()[-1]) == (
        74,
        "billing-etl: stdout cannot be written (No space left on device)",
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["runs"], 0), (["status", "--max-age", "1"], 1), (["--help"], 0), (["export", "--out", "-"], 0), (["sync"], 0)],
)
def test_a_closed_pipe_does_not_change_the_exit_code(synced, arguments, expected):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        code, errors = run(synced, arguments, stdout=writer)
    finally:
        os.close(writer)
    assert code == expected
    assert "bug" not in errors
    assert "Traceback" not in errors


def test_closed_streams_do_not_affect_a_run(synced):
    command = f"exec {sys.executable} -m etl -vv sync <&- >&- 2>&-"
    process = subprocess.run(["sh", "-c", command], cwd=synced.folder, env=synced.environment({}), check=False)
    assert process.returncode == 0
    assert synced("verify").code == 0  # nothing was written into the database through a descriptor of stdout


@pytest.mark.parametrize(
    "arguments",
    [["status", "--json", "--no-such-option"], ["--no-such-option", "status", "--json"], ["runs", "x", "--json"]],
)
def test_a_usage_error_is_one_json_document_with_json(billing, arguments):
    done = billing(*arguments)
    document = json.loads(done.out)
    assert done.code == document["exit_code"] == 2
    assert document["error"] in done.errors
