"""Tests the Dockerfile without a container engine: runs its instructions, stage by stage, in copies of a Debian root.

As root, because it mounts and changes root folders:

    debootstrap --variant=minbase --include=ca-certificates,python3-venv,python3-pip,python-is-python3 bookworm ROOT
    python deploy/container/try_image.py ROOT [ARGUMENT...]

ROOT replaces the base image. The image is run once with the arguments (those of CMD by default) and the environment's
BILLING_*, like `docker run --read-only --tmpfs /tmp --volume …:/var/lib/billing-etl`: as process 1, as the image's
user, on a read-only root. The exit code is the program's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
VALUE = re.compile(r'([\w.]+)=("[^"]*"|\S*)')


@dataclass
class Stage:
    """A stage of the build: its root, and the state for later instructions and runs."""

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    folder: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


def read_instructions(text: str) -> Iterator[tuple[str, str]]:
    """The instructions of a Dockerfile, each a word and the rest of its line, continued lines joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for line in lines.replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, rest.strip()


def build(base: Path, work: Path) -> Stage:
    """Carry out the Dockerfile in the folder `work`; the last stage is the image."""
    stages: dict[str, Stage] = {}
    stage = Stage(base)
    for number, (word, rest) in enumerate(read_instructions((HERE / "Dockerfile").read_text())):
        print(word, rest, file=sys.stderr, flush=True)
        if word == "FROM":
            source, _, name = rest.partition(" AS ")
            earlier = stages.get(source, Stage(base))
            stage = Stage(work / str(number), dict(earlier.environment))
            subprocess.run(["cp", "--archive", "--reflink=auto", earlier.root, stage.root], check=True)
            stages[name] = stage
        else:
            _carry_out(word, rest, stage, stages)
    return stage


def _carry_out(word: str, rest: str, stage: Stage, stages: dict[str, Stage]) -> None:
    match word:
        case "ENV":
            for name, value in VALUE.findall(rest):
                stage.environment[name] = value.strip('"').replace("$PATH", stage.environment["PATH"])
        case "WORKDIR":
            stage.folder = rest
            _within(stage, rest).mkdir(parents=True, exist_ok=True)
        case "COPY":
            _copy(rest.split(), stage, stages)
        case "RUN":
            if enter(stage, ["/bin/sh", "-c", rest], []):
                sys.exit("that did not work")
        case "USER":
            stage.user = rest
        case "ENTRYPOINT":
            stage.entrypoint = json.loads(rest)
        case "CMD":
            stage.command = json.loads(rest)
        case "LABEL" | "STOPSIGNAL" | "HEALTHCHECK":
            pass  # for an engine
        case _:
            sys.exit(f"{word}: this script does not know it")


def _within(stage: Stage, path: str) -> Path:
    return stage.root / os.path.normpath(os.path.join(stage.folder, path)).lstrip("/")  # noqa: PTH118 - of another root


def _copy(words: list[str], stage: Stage, stages: dict[str, Stage]) -> None:
    *sources, last = words
    root, target = CHECKOUT, _within(stage, last)
    if sources[0].startswith("--from="):
        root = stages[sources.pop(0).removeprefix("--from=")].root
    for source in (root / source.lstrip("/") for source in sources):
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def enter(stage: Stage, command: list[str], steps: list[str], user: str = "0:0") -> int:
    """Run a command in the stage's root, as process 1 of its own; its exit code.

    Args:
        stage: Its environment and folder are the command's.
        command: What runs.
        steps: Lines of shell that mount something first; `$1` is the root. The mounts end with the command.
        user: User and group, as numbers.
    """
    script = " && ".join([*steps, 'mount -t proc proc "$1/proc"', 'exec chroot --userspec="$0" "$@"'])
    variables = [f"{name}={value}" for name, value in stage.environment.items()]
    inside = ["env", "--ignore-environment", f"--chdir={stage.folder}", *variables, *command]
    own = ["unshare", "--mount", "--pid", "--fork"]
    return subprocess.run([*own, "sh", "-c", script, user, stage.root, *inside], check=False).returncode


def run(image: Stage, arguments: list[str]) -> int:
    """Run the image on a read-only root, with a /tmp and its own folder to write to; its exit code."""
    steps = [
        'mount --bind "$1" "$1"',
        'mount -t tmpfs tmpfs "$1/tmp"',
        f'mount --bind "$1{image.folder}" "$1{image.folder}"',
        'mount -o remount,ro,bind "$1"',
    ]
    image.environment |= {name: value for name, value in os.environ.items() if name.startswith("BILLING_")}
    return enter(image, [*image.entrypoint, *(arguments or image.command)], steps, image.user)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="billing-etl-image-") as folder:
        sys.exit(run(build(Path(sys.argv[1]), Path(folder)), sys.argv[2:]))
