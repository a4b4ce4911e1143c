"""An instance of Dagster in a folder of its own, and the programs of Dagster's environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from support.environments import HOME, environment
from support.processes import PATIENCE

PROBE = HOME / "tests" / "support" / "dagster_probe.py"
MODULE = "etl.orchestration.dagster"


class Dagster:
    """Programs of Dagster's environment, with an instance in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.bin = environment("dagster")
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("BILLING_", "DAGSTER_"))}
        path = os.pathsep.join([str(self.bin), os.environ["PATH"]])
        self.variables = inherited | {
            "PATH": path,
            "DAGSTER_HOME": str(self.home),
            "BILLING_CONFIG": str(folder / "billing.toml"),
        }

    def start(self, program: str, *arguments: str, log: str = "", **variables: str) -> subprocess.Popen[str]:
        """A program in a process group of its own; its output goes to a file of the folder, or to a pipe."""
        with ExitStack() as stack:
            output = stack.enter_context((self.folder / log).open("w")) if log else subprocess.PIPE
            return subprocess.Popen(
                [self.bin / program, *arguments], cwd=self.folder, env=self.variables | variables, text=True,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def call(self, program: str, *arguments: str, **variables: str) -> tuple[int, str]:
        """Exit code and output."""
        with self.start(program, *arguments, **variables) as process:
            try:
                output, _ = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return process.returncode, output

    def probe(self, *arguments: str) -> list[dict[str, Any]]:
        done = subprocess.run(
            [self.bin / "python", PROBE, *arguments], cwd=self.folder, env=self.variables, text=True,
            capture_output=True, check=False, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout)

    def run(self, *runs: dict[str, Any]) -> list[dict[str, Any]]:
        """Run jobs one after another, in one process."""
        return self.probe(json.dumps(runs))

    def recorded(self) -> list[dict[str, Any]]:
        """All runs, newest first."""
        return self.probe("--all")
