"""The release script refuses inconsistent commits, and the audit reports when its result is unknown."""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.doc_examples import HOME
from support.external_tools import tool

RELEASED = "# Changelog\n\n## Unreleased\n\n## 1.2.3 - 2026-03-11\n\n- It is out.\n"


class Repository:
    """A small repository with the release script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "etl").mkdir()
        (folder / "etl" / "__init__.py").write_text('__version__ = "1.2.3"\n')
        (folder / "CHANGELOG.md").write_text(RELEASED)
        (folder / ".ci").mkdir()
        shutil.copy(HOME / ".ci" / "release", folder / ".ci")
        self.git("init", "--quiet")

    def git(self, *arguments: str) -> None:
        person = ("-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
        subprocess.run([tool("git"), *person, *arguments], cwd=self.folder, check=True)

    def commit(self, *tags: str) -> None:
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "all of it")
        for tag in tags:
            self.git("tag", tag)

    def release(self) -> str:
        """Run the release script; returns its output. An accepted commit fails at the build, which has no tools."""
        done = subprocess.run(
            [self.folder / ".ci" / "release", "nowhere"], check=False, capture_output=True, text=True, cwd=self.folder
        )
        assert done.returncode != 0
        return done.stderr.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository with a version and a changelog, without a commit."""
    return Repository(tmp_path)


def test_a_consistent_commit_is_built(repository: Repository) -> None:
    repository.commit("v1.2.3", "tried")
    assert "nowhere/python" in repository.release()


def test_uncommitted_changes_are_not_released(repository: Repository) -> None:
    repository.commit("v1.2.3")
    (repository.folder / "left over").touch()
    assert repository.release().startswith("no release: there are changes that are not committed")


@pytest.mark.parametrize(("tags", "shown"), [((), "none"), (("v1.2.30",), "v1.2.30")])
def test_a_commit_without_the_tag_of_its_version_is_not_released(
    repository: Repository, tags: tuple[str, ...], shown: str
) -> None:
    repository.commit(*tags)
    assert repository.release() == (
        f"no release: the version is 1.2.3, and this commit has the tag '{shown}'; run: git tag --sign v1.2.3"
    )


@pytest.mark.parametrize(
    ("changelog", "refusal"),
    [
        (RELEASED.replace("1.2.3", "1x2.3"), "CHANGELOG.md has no heading '## 1.2.3 - YYYY-MM-DD'"),
        (
            RELEASED.replace("Unreleased\n", "Unreleased\n\n- Something.\n"),
            "CHANGELOG.md has changes under Unreleased; move them to 1.2.3",
        ),
    ],
)
def test_a_version_without_changelog_entry_is_not_released(
    repository: Repository, changelog: str, refusal: str
) -> None:
    (repository.folder / "CHANGELOG.md").write_text(changelog)
    repository.commit("v1.2.3")
    assert repository.release() == f"no release: {refusal}"


class _Advisories(http.server.BaseHTTPRequestHandler):
    """The used part of OSV's API; one package is vulnerable."""

    def do_POST(self) -> None:
        requested = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        package = requested["package"]
        affected = {
            "package": package,
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.9"}]}],
            "versions": [requested["version"]],
        }
        found = {"id": "GHSA-1", "modified": "2026-01-01T00:00:00Z", "details": "It is bad.", "affected": [affected]}
        body = json.dumps({"vulns": [found]} if package["name"] == "bad" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Audits locked packages against a local advisory service, or against an address without one."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Advisories) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def run(*names: str, port: int = server.server_port) -> subprocess.CompletedProcess[str]:
            lock = tmp_path / "some.lock"
            lock.write_text("".join(f"{name}==1.0 --hash=sha256:{'0' * 64}\n" for name in names))
            service = ("--vulnerability-service", "osv", "--osv-url", f"http://127.0.0.1:{port}/v1/query")
            script = ["sh", HOME / "requirements" / "audit.sh", Path(sys.executable).parent]
            return subprocess.run(
                [*script, *service, "--requirement", lock], check=False, capture_output=True, text=True
            )

        yield run
        server.shutdown()


@pytest.mark.fault(128)
def test_an_audit_without_access_to_advisories_is_not_a_success(
    audit: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    unknown = audit("good", port=9)
    assert unknown.returncode == 69
    assert unknown.stderr.splitlines()[-1].startswith("not audited: the advisories cannot be reached")
    good = audit("good")
    assert (good.returncode, good.stdout) == (0, "1 packages audited\n")
    bad = audit("good", "bad")
    assert (bad.returncode, bad.stdout) == (1, "bad 1.0 GHSA-1 mended in 9.9\n2 packages audited\n")
