"""The commands of docs/how-to/install.md and uninstall.md, run as written in a folder that replaces the root of a host.

The wheel and the source archive are built first. Commands that need root or a package mirror are left out (`LEFT_OUT`),
the locked packages are those of the test session, and fake_systemd.py replaces systemd.
"""

from __future__ import annotations

import re
import shlex
import site
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from support.deploy_paths import CHECKOUT, relocate
from support.secret_leaks import TOKEN, leaks

from etl import __version__

LEFT_OUT = ["apt-get", "chown", "journalctl", "useradd"]
LOCKED = "/opt/billing-etl/bin/python -m pip install --require-hashes --requirement requirements/server.lock\n"
OWNER_OPTIONS = re.compile(r" --(?:owner|group)=billing-etl")


def blocks() -> dict[str, list[str]]:
    """The blocks of commands, by title."""
    pages = [(CHECKOUT / "docs/how-to" / name).read_text() for name in ("install.md", "uninstall.md")]
    sections = [part for page in pages for part in re.split(r"(?m)^##? (.+)$", page)[1:]]
    return {
        title: re.findall(r"(?ms)^```sh\n(.*?)^```$", text)
        for title, text in zip(sections[::2], sections[1::2], strict=True)
    }


class Host:
    """A folder that replaces the root of a host, with the files of a server before the installation."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "root"
        self.programs = root / "stand-ins"
        for folder in ("root", "stand-ins", "etc/systemd/system", "etc/cron.d", "usr/local/sbin", "opt", "var/lib"):
            (root / folder).mkdir(parents=True)
        for name in LEFT_OUT:
            self._program(name, "exit 0")
        for name in ("systemctl", "systemd-run"):
            script = CHECKOUT / "tests/deploy/fake_systemd.py"
            self._program(name, f'exec {shlex.quote(sys.executable)} {script} {name} "$@"')
        self._program("sendmail", f"exec cat > {root}/mail")
        self._program("runuser", 'shift 3; exec "$@"')
        self._program("python3", f'exec {shlex.quote(sys.executable)} "$@" --without-pip')  # the session has one

    def _program(self, name: str, text: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    def __call__(self, commands: str, given: str = "") -> str:
        """Run a block as written; returns its output. The next block starts in the folder where this one ends."""
        link = f"echo {site.getsitepackages()[0]} > $(echo /opt/billing-etl/lib/python3*/site-packages)/session.pth\n"
        commands = OWNER_OPTIONS.sub("", commands.replace(LOCKED, link))
        done = subprocess.run(
            ["sh", "-euc", f"{relocate(commands, self.root)}\npwd > {self.root}/folder"],
            cwd=self.folder,
            env={
                "PATH": f"{self.programs}:{self.root}/usr/local/sbin:/usr/bin:/bin",
                "PYTHONPATH": str(CHECKOUT / "tests"),
                "HOST_ROOT": str(self.root),
                "SENDMAIL": str(self.programs / "sendmail"),
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            },
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert leaks(done.stdout + done.stderr, [TOKEN]) == []
        self.folder = Path((self.root / "folder").read_text().strip())
        return done.stdout

    def mode(self, path: str) -> str:
        return stat.filemode((self.root / path).stat().st_mode)

    def records(self) -> int:
        with closing(sqlite3.connect(self.root / "var/lib/billing-etl/billing.db")) as database:
            return database.execute("SELECT count(*) FROM billing").fetchone()[0]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder with the wheel and the source archive."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, CHECKOUT]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def host(tmp_path) -> Host:
    return Host(tmp_path)


def test_installation_and_uninstallation_with_systemd(host, built, vendor):
    commands = blocks()
    for file in built.iterdir():
        (host.folder / file.name).symlink_to(file)
    host(commands["Installation"][0])
    assert host(commands["The program"][0]).endswith(f"billing-etl, version {__version__}\n")
    write_secrets(host)
    units, first_sync, timers = commands["Schedule: systemd"]
    host(units)
    with (host.root / "etc/billing-etl/billing-etl.env").open("a") as settings:
        settings.write(f"BILLING_API_URL={vendor.url}\n")
    output = host(first_sync)
    assert {"✓ database:", "✓ token:", "✓ clock:"} <= {" ".join(line.split()[:2]) for line in output.splitlines()}
    assert "✗" not in output
    assert "complete up to" in output
    records = host.records()
    assert records > 0
    assert host.mode("var/lib/billing-etl/billing.db") == "-rw-------"
    host(timers)
    assert "Subject: failed-trial on " in (host.root / "mail").read_text()

    host(commands["Upgrade"][0])
    assert host.records() == records

    host(commands["Remove an installation with systemd"][0])
    assert [path for path in host.root.rglob("*billing*") if host.root / "root" not in path.parents] == []


def test_installation_with_cron_mails_only_failed_runs(host, vendor):
    (host.root / "opt/billing-etl").symlink_to(sys.prefix)
    (host.folder / "deploy").symlink_to(CHECKOUT / "deploy")
    write_secrets(host)
    user, first_sync = blocks()["Schedule: cron"]
    host(user)
    (host.root / "var/lib/billing-etl/.env").write_text(f"BILLING_API_URL={vendor.url}\n")
    output = host(first_sync)
    assert "✓ token:" in output
    assert "✗" not in output
    assert host.records() > 0
    assert host.mode("var/lib/billing-etl/billing.db") == "-rw-------"

    assert cron(host) == (0, "")
    token = host.root / "etc/billing-etl/token"
    token.chmod(0o600)
    token.write_text("00000000-1111-4000-8000-000000000000")
    token.chmod(0o400)
    code, output = cron(host)
    assert code == 77
    assert "refused the token" in output


def write_secrets(host: Host) -> None:
    commands = blocks()
    host(commands["The secrets"][0], given=f"{TOKEN}\n")
    host(commands["The database"][0])  # SQLite
    assert [host.mode(f"etc/billing-etl/{name}") for name in ("token", "database_url")] == ["-rw-------"] * 2


def cron(host: Host) -> tuple[int, str]:
    """Run the nightly line like cron; returns its exit code and the text of cron's mail."""
    text = relocate((host.root / "etc/cron.d/billing-etl").read_text(), host.root)
    assert text.endswith("\n")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    variables = dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))
    nightly, weekly = [line.split(None, 6) for line in lines if not re.match(r"\w+=", line)]
    assert (nightly[5], weekly[5]) == ("billing-etl", "billing-etl")
    assert weekly[6].startswith(nightly[6])
    assert "%" not in text.partition("SHELL=")[2]
    done = subprocess.run(
        [variables["SHELL"], "-c", nightly[6]],
        env={"PATH": "/usr/bin:/bin"} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout
