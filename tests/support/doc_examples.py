"""The command lines in the fenced blocks of README and docs.

A comment directly above a block states an exception; CONTRIBUTING.md describes the rules:

    <!-- not run: REASON -->        the lines of the block are not run
    <!-- ends with 65: REASON -->   the exit code of each billing-etl line of the block
    <!-- file: NAME -->             the block is the text of that file, for the lines that follow
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HOME = Path(__file__).parents[2]
PAGES = [HOME / "README.md", HOME / "CONTRIBUTING.md", *sorted((HOME / "docs").rglob("*.md"))]

_SHELL = {"sh", "bash", "shell", "console"}
"""Languages whose lines are commands; in `console`, only lines that start with `$ `, the others are output."""
_FENCE = re.compile(r" {0,3}(```+|~~~+)\s*([^\s`]*)")
_MARK = re.compile(r"<!-- (not run|ends with (\d+)|file): (.+) -->")
_HERE_DOCUMENT = re.compile(r"<<-?\s*['\"]?(\w+)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_STREAM = re.compile(r"(?<=\s)[012](?=[<>])")
_BETWEEN_COMMANDS = {"&&", "||", ";", "|", "|&", "&"}
_FUNCTION = re.compile(r'(\w+)\(\) \{ (.+) "\$@"; \}')
"""A shell function that passes its arguments on."""
_USER_PREFIXES = {"sudo", "-u", "-g", "-E", "-i", "-n", "exec", "command", "!"}
_LAUNCHERS = {"env", "nice", "time", "timeout", "flock", "chronic", "runuser", "systemd-run"}
"""Programs that start the program after their own options."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        line: Line number of the fence, from 1.
        not_run: The reason of a `not run` comment, or empty.
        code: Exit code of its billing-etl lines.
        file: The name of a `file` comment, or empty.
    """

    line: int
    language: str
    text: str
    not_run: str = ""
    code: int = 0
    file: str = ""

    @property
    def is_run(self) -> bool:
        """Whether its lines are commands that can be run."""
        return self.language in _SHELL and not self.not_run and not self.file


@dataclass(frozen=True, slots=True)
class Command:
    """A simple command: its own variables, its words, and whether the line handles its failure (`||`)."""

    line: int
    shown: str
    variables: dict[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    may_fail: bool = False


def blocks_of(page: str) -> Iterator[Block]:
    """The fenced blocks of a page."""
    lines = iter(enumerate(page.splitlines(), 1))
    mark: re.Match[str] | None = None
    for number, line in lines:
        if fence := _FENCE.match(line):
            inside = []
            for _, inner in lines:
                if inner.strip() == fence[1]:
                    break
                inside.append(inner)
            kind, words, code = (mark[1], mark[3], mark[2]) if mark else ("", "", None)
            yield Block(
                number,
                fence[2],
                "\n".join(inside),
                not_run=words if kind == "not run" else "",
                code=int(code or 0),
                file=words if kind == "file" else "",
            )
            mark = None
        elif line.strip():
            mark = _MARK.fullmatch(line.strip())


def commands_of(block: Block) -> Iterator[Command]:
    """The simple commands of a shell block, in order, without redirections.

    Raises:
        ValueError: A line is not valid in a shell.
    """
    functions: dict[str, str] = {}
    for number, line in _logical_lines(block):
        if function := _FUNCTION.fullmatch(line.strip()):
            functions[function[1]] = function[2]
            continue
        name, blank, arguments = line.partition(" ")
        called = functions.get(name, name) + blank + arguments
        lexer = shlex.shlex(_STREAM.sub("", called), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        redirected = False
        for word in [*lexer, ";"]:
            if word in _BETWEEN_COMMANDS:
                if words:
                    yield _command(number, line.strip(), words, may_fail=word == "||")
                words = []
            elif redirected or set(word) <= set("<>&"):
                redirected = not redirected
            else:
                words.append(word)


def _logical_lines(block: Block) -> Iterator[tuple[int, str]]:
    """Lines, with continued lines joined and here documents left out."""
    pending, here = "", ""
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if here:
            here = "" if line.strip() == here else here
        elif block.language == "console" and not pending and not line.startswith("$ "):
            continue
        else:
            whole = pending + (line.removeprefix("$ ") if block.language == "console" else line)
            pending = f"{whole[:-1]} " if whole.endswith("\\") else ""
            if not pending:
                here = match[1] if (match := _HERE_DOCUMENT.search(whole)) else ""
                yield number, whole


def _command(line: int, shown: str, words: list[str], *, may_fail: bool) -> Command:
    variables: dict[str, str] = {}
    while words:
        first = words[0]
        if first in _LAUNCHERS:
            words = words[_launched_index(words) :]
        elif first in _USER_PREFIXES:
            words = words[2 if first in {"-u", "-g"} else 1 :]
        elif _ASSIGNMENT.fullmatch(first):
            name, _, value = first.partition("=")
            variables[name] = value
            words = words[1:]
        else:
            break
    return Command(line, shown, variables, tuple(words), may_fail)


def _launched_index(words: list[str]) -> int:
    """Index of the launched command: after `--`, or else the last word that is `billing-etl`."""
    if words[0] == "env":
        return 1
    if "--" in words:
        return words.index("--") + 1
    return max((index for index, word in enumerate(words) if is_billing_etl(word)), default=1)


def is_billing_etl(word: str) -> bool:
    """Whether a word is the program billing-etl, at any path."""
    return Path(word).name == "billing-etl"
