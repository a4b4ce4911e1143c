"""The command lines of README and docs work: each one is run as written, page by page."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import pytest
from support.doc_examples import HOME, PAGES, Block, Command, blocks_of, commands_of

from etl.cli import cli
from etl.cli.app import run_command
from etl.exit_codes import ExitCode
from etl.sandbox import Dataset, Sandbox

NOT_RUN = {
    "pip pipx uv venv .": "installs from the internet; tests/smoke_wheel.sh tries a clean installation",
    "apt apt-get useradd adduser userdel chown install": "changes the machine",
    "systemctl systemd-creds crontab timedatectl": "changes the machine",
    "systemd-analyze journalctl hadolint": "looks at the machine; units and images have tests of their own",
    "docker podman kubectl": "needs a container engine or a cluster",
    "psql createdb createuser pg_dump mariadb mariadb-dump mysql": "needs a server of the reader's",
    "sqlite3 openssl promtool curl superset datasette jq": "another project's program",
    "git pre-commit pytest": "works on a checkout",
    "cd umask": "a page has one folder, and it is the test's",
    "cat cp mv rm mkdir chmod touch tee tar ls less head tail": "writes, moves or shows files",
    "echo printf date man mail grep sort diff": "shows or sends something",
}
"""Programs whose lines are not run, and why. For any other program but billing-etl the test fails."""

SERVING = {"sandbox", "dashboard"}
"""Commands that run until they are stopped: only their arguments are checked."""

READERS_SETTINGS = re.compile(r"(API_TOKEN|API_URL|DATABASE_URL|HEARTBEAT_URL)(_FILE)?", re.IGNORECASE)
"""Settings whose values on a page are made up; the test uses its own."""
ROOTED = re.compile(r"(?<![\w/.:~}-])/(?=(?:etc|var|srv|run|opt|home|mnt|backups?)/)")
"""The start of a path on the reader's machine, which is moved into the page's folder."""


class Reader:
    """Executes the blocks of a page, in an empty current folder."""

    def __init__(self, folder: Path, vendor: Sandbox) -> None:
        self.folder = folder
        self.token = vendor.token
        for name in [name for name in os.environ if name.startswith(("BILLING_", "CREDENTIALS_"))]:
            del os.environ[name]
        os.environ |= {"BILLING_API_URL": vendor.url, "BILLING_API_TOKEN": vendor.token, "BILLING_RETRY_MAX_WAIT": "0"}
        for plan in (HOME / "tests" / "data" / "numbering").glob("*-?xx.csv"):
            shutil.copy(plan, folder)

    def follow(self, block: Block) -> Iterator[str]:
        """Execute a block.

        Yields:
            For each line that failed: its number, the line and the reason.
        """
        if block.file:
            self.write(block.file, block.text)
        if not block.is_run:
            return
        try:
            commands = list(commands_of(block))
        except ValueError as error:
            yield f"{block.line}: no shell can read this block ({error})"
            return
        for command in commands:
            if problem := self.do(command, block.code):
                yield f"{command.line}: {command.shown}\n      {problem}"

    def do(self, command: Command, code: int) -> str | None:
        """Run one command; returns the problem, if any."""
        words = command.words
        if not words or words[0] == "export":
            assigned = dict(word.split("=", 1) for word in words[1:] if "=" in word)
            os.environ |= self.settled(command.variables | assigned)
            return None
        program = Path(words[0]).name or words[0]
        if program in {"python", "python3"} and words[1:2] == ("-c",):
            done = subprocess.run([sys.executable, *words[1:]], check=False, capture_output=True, text=True)
            return done.stderr or None
        if program in {"python", "python3"} and words[1:2] == ("-m",):
            program, words = words[2], words[2:]
        if program in {"billing-etl", "etl"}:
            with variables_as_they_were():
                os.environ |= self.settled(command.variables)
                return self.run(list(self.expanded(words[1:])), code, may_fail=command.may_fail)
        if program == "make":
            unknown = {word for word in words[1:] if "=" not in word} - targets()
            return f"the Makefile has no target {', '.join(unknown)}" if unknown else None
        if any(program in programs.split() for programs in NOT_RUN):
            return None
        return f"{program} is not on the list of programs; CONTRIBUTING.md describes how command lines are tested"

    def run(self, arguments: list[str], code: int, *, may_fail: bool) -> str | None:
        """Run a billing-etl line in this process."""
        if problem := misspelled(arguments):
            return problem
        if SERVING & set(arguments):
            return None
        out, errors = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors), signals_as_they_were():
            ended = run_command(cli, arguments)
        if ended == code or (may_fail and ended not in {ExitCode.USAGE, ExitCode.SOFTWARE, ExitCode.CONFIG}):
            return None
        said = b"".join(stream.buffer.getvalue() for stream in (errors, out))  # type: ignore[attr-defined]  # BytesIO
        return f"ended with {ended}, not with {code}, and said: {said.decode('utf-8', 'replace').strip()[:1500]}"

    def settled(self, variables: dict[str, str]) -> dict[str, str]:
        """The variables that a page sets, without those whose values are made up."""
        settled = {
            name: self.here(value)
            for name, value in variables.items()
            if not READERS_SETTINGS.fullmatch(name.removeprefix("BILLING_"))
        }
        if (url := variables.get("BILLING_DATABASE_URL", "")).startswith("sqlite:///"):
            settled["BILLING_DATABASE_URL"] = f"sqlite:///{Path(url).name}"
        if key := settled.get("BILLING_PHONES_KEY_FILE"):
            self.keep_secret(Path(key), "k" * 32)
        return settled

    def expanded(self, words: tuple[str, ...]) -> Iterator[str]:
        """Arguments after expansion by a shell in the page's folder."""
        for word in words:
            argument = self.here(os.path.expandvars(word))
            pattern = argument.removeprefix(f"{self.folder}/")
            found = sorted(map(str, Path().glob(pattern))) if "*" in pattern else []
            yield from found or [argument]

    def here(self, text: str) -> str:
        """The text with absolute paths moved into the page's folder; parent folders are created."""
        moved = ROOTED.sub(f"{self.folder}/", text)
        if moved != text and "\n" not in text:
            Path(moved.partition("=")[2] if moved.startswith("-") else moved).parent.mkdir(parents=True, exist_ok=True)
        return moved

    def write(self, name: str, text: str) -> None:
        """Write a file that a page shows, and the token files that it names."""
        lines = self.here(text).splitlines()
        for line in lines:
            key, _, value = (part.strip(" \"'") for part in line.partition("="))
            if key == "api_token_file":
                self.keep_secret(Path(value), self.token)
        path = Path(self.here(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        own = [line for line in lines if not re.match(r"(database|api|heartbeat)_url(_file)?\s*=", line)]
        self.keep_secret(path, "\n".join(own))

    def keep_secret(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text, "utf-8")


@contextlib.contextmanager
def variables_as_they_were() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


@contextlib.contextmanager
def signals_as_they_were() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def targets() -> set[str]:
    return set(re.findall(r"^\.PHONY: (\S+)$", (HOME / "Makefile").read_text("utf-8"), re.MULTILINE))


def misspelled(arguments: list[str]) -> str | None:
    """The first unknown command or option of a command line; values are not checked, they may be made up."""
    command: click.Command = cli
    name = "billing-etl"
    words = iter(arguments)
    for word in words:
        if word.startswith("-") and word != "-":
            option, _, value = word.partition("=")
            if option in {"--help", "-h"}:
                continue
            option = "-v" if option == "-vv" else option
            known = [found for found in command.params if option in found.opts]
            if not known:
                return f"{name} has no option {option}"
            if isinstance(known[0], click.Option) and not (known[0].is_flag or known[0].count or value):
                next(words, None)
        elif isinstance(command, click.Group):
            if word not in command.commands:
                return f"{name} has no command {word}"
            command, name = command.commands[word], f"{name} {word}"
    return None


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """A reader with an account at the vendor at the current date, because pages name yesterday."""
    now = datetime.now(ZoneInfo("Europe/Moscow")).replace(tzinfo=None)
    dataset = Dataset(seed=1, today=now.date(), days=31, per_day=5, until=now.time())
    monkeypatch.chdir(tmp_path)
    with Sandbox(port=0, dataset=dataset) as vendor, variables_as_they_were():
        yield Reader(tmp_path, vendor)


def name_of(page: Path) -> str:
    return page.relative_to(HOME).as_posix()


PAGES_OF_COMMANDS = [page for page in PAGES if any(block.is_run for block in blocks_of(page.read_text("utf-8")))]


@pytest.mark.parametrize("page", PAGES_OF_COMMANDS, ids=name_of)
def test_every_command_line_of_a_page_works_as_described(page: Path, reader: Reader) -> None:
    problems = [problem for block in blocks_of(page.read_text("utf-8")) for problem in reader.follow(block)]
    assert not problems, "\n" + "\n".join(f"{name_of(page)}:{problem}" for problem in problems)


IN_A_SENTENCE = re.compile(r"`(?:billing-etl|python -m etl) ([^`]+)`")
IN_ANOTHER_BLOCK = re.compile(
    r"^(?:\s*Exec\w+=|\s*[\d*@]).*?billing-etl (.*)|/billing-etl ([^\"'\]|&;]*)", re.MULTILINE
)
"""Lines of a unit file, of a crontab, and whatever starts an installed program."""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_options_named_in_text_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    mentions = [mention.replace("\n", " ") for mention in IN_A_SENTENCE.findall(text)]
    for block in blocks_of(text):
        if not block.is_run:
            mentions += [first or second for first, second in IN_ANOTHER_BLOCK.findall(block.text)]
    problems = {}
    for mention in mentions:
        words = [word for word in shlex.split(re.sub(r"[\[\]…]|\.{3}", " ", mention)) if word != "COMMAND"]
        if problem := misspelled(words):
            problems[mention] = problem
    assert problems == {}


def follow(reader: Reader, text: str) -> list[str]:
    return [problem for block in blocks_of(text) for problem in reader.follow(block)]


def test_a_line_with_an_unknown_command_fails_with_the_reason(reader: Reader) -> None:
    page = "```sh\nbilling-etl synch\nbilling-etl sync --sinse 2026-01-01\nbiling-etl sync\nmake supper\n```\n"
    assert follow(reader, page) == [
        "2: billing-etl synch\n      billing-etl has no command synch",
        "3: billing-etl sync --sinse 2026-01-01\n      billing-etl sync has no option --sinse",
        (
            "4: biling-etl sync\n      biling-etl is not on the list of programs; "
            "CONTRIBUTING.md describes how command lines are tested"
        ),
        "5: make supper\n      the Makefile has no target supper",
    ]


def test_a_line_with_another_exit_code_fails(reader: Reader) -> None:
    verify = "```sh\nbilling-etl verify\n```\n"
    (problem,) = follow(reader, verify)
    assert "ended with 74, not with 0, and said: billing-etl: there is no database yet" in problem
    assert follow(reader, f"<!-- ends with 74: it is too early -->\n{verify}") == []
    assert follow(reader, f"<!-- not run: for another reason -->\n{verify}") == []
    (problem,) = follow(reader, verify.replace("verify", "verify || sit down"))
    assert "sit is not on the list of programs" in problem


def test_a_file_shown_on_a_page_exists_for_the_lines_below(reader: Reader) -> None:
    page = """
<!-- file: /etc/billing/billing.toml -->
```toml
database_url = "postgresql://billing@db/billing"
[accounts.shop]
api_token_file = "/etc/billing/shop.token"
```

```sh
sudo -u billing BILLING_LOOKBACK_DAYS=3 billing-etl --config /etc/billing/billing.toml sync --account shop
```
"""
    assert follow(reader, page) == []
    assert Path("billing.db").exists()
    (problem,) = follow(reader, page.replace("LOOKBACK_DAYS=3", "LOOKBACK_DAYS=three"))
    assert "ended with 78, not with 0, and said: billing-etl: BILLING_LOOKBACK_DAYS is 'three'" in problem


def test_lines_are_parsed_like_a_shell() -> None:
    text = """
```console
$ sudo -u billing BILLING_ACCOUNT='a b' billing-etl sync \\
    --since 2026-01-01   # a remark
1 day
$ runuser -u billing-etl -- /opt/bin/billing-etl status --json > status.json 2>&1 || mail -s late you@example.com
```

```sh
cat > notes <<'END'
billing-etl nothing
END
billing-etl check && billing-etl sync
job() { runuser --user billing-etl -- env A=b /opt/bin/billing-etl "$@"; }
job status --json
runuser --user postgres -- createuser billing-etl
```
"""
    console, shell = blocks_of(text)
    assert [(command.variables, command.words, command.may_fail) for command in commands_of(console)] == [
        ({"BILLING_ACCOUNT": "a b"}, ("billing-etl", "sync", "--since", "2026-01-01"), False),
        ({}, ("/opt/bin/billing-etl", "status", "--json"), True),
        ({}, ("mail", "-s", "late", "you@example.com"), False),
    ]
    assert [(command.line, command.variables, command.words) for command in commands_of(shell)] == [
        (10, {}, ("cat",)),
        (13, {}, ("billing-etl", "check")),
        (13, {}, ("billing-etl", "sync")),
        (15, {"A": "b"}, ("/opt/bin/billing-etl", "status", "--json")),
        (16, {}, ("createuser", "billing-etl")),
    ]
