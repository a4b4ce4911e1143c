"""A fake of systemctl and systemd-run: runs the program with a unit's settings, credentials and command.

The first argument is the name of the tool. User, sandbox and limits of the unit are ignored. HOST_ROOT is the folder
that replaces the root of the host.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

from support.deploy_paths import relocate

ROOT = Path(os.environ["HOST_ROOT"])
STATE = ROOT / "var/lib/billing-etl"


def run(unit: str, properties: list[tuple[str, str]], command: list[str]) -> int:
    secrets = ROOT / "run/credentials" / unit
    secrets.mkdir(parents=True)
    STATE.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "SENDMAIL": os.environ["SENDMAIL"],
        "CREDENTIALS_DIRECTORY": str(secrets),
    }
    umask = 0o022
    for key, value in properties:
        if key == "UMask":
            umask = int(value, 8)
        elif key == "LoadCredential":
            name, _, path = value.partition(":")
            shutil.copy(path, secrets / name)
        elif key == "EnvironmentFile":
            lines = Path(value.removeprefix("-")).read_text().splitlines()
            environment |= dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        elif key == "Environment":
            environment |= [value.replace("%d", str(secrets)).split("=", 1)]
    try:
        return subprocess.run(command, env=environment, cwd=STATE, umask=umask, check=False).returncode
    finally:
        shutil.rmtree(secrets)


def systemd_run(arguments: list[str]) -> int:
    options = list(takewhile(lambda argument: argument.startswith("--"), arguments))
    properties = [option.removeprefix("--property=") for option in options if option.startswith("--property=")]
    properties += [f"Environment={option.removeprefix('--setenv=')}" for option in options if "--setenv=" in option]
    (unit,) = [option.removeprefix("--unit=") for option in options if option.startswith("--unit=")]
    pairs = [(key, relocate(value, ROOT)) for key, _, value in (text.partition("=") for text in properties)]
    return run(f"{unit}.service", pairs, [relocate(argument, ROOT) for argument in arguments[len(options) :]])


def systemctl(verb: str, *names: str) -> int:
    if verb == "clean":
        shutil.rmtree(STATE)
    if verb != "start" or not names[0].endswith(".service"):
        return 0
    template, _, instance = names[0].removesuffix(".service").partition("@")
    file = ROOT / "etc/systemd/system" / (f"{template}@.service" if instance else names[0])
    pairs = [
        (key, value)
        for key, _, value in (line.partition("=") for line in relocate(file.read_text(), ROOT).splitlines())
    ]
    (command,) = [value for key, value in pairs if key == "ExecStart"]
    return run(names[0], pairs, shlex.split(command.replace("%i", instance)))


if __name__ == "__main__":
    name, *given = sys.argv[1:]
    sys.exit(systemd_run(given) if name == "systemd-run" else systemctl(*given))
