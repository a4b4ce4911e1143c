"""The command lines that README and docs show, taken out of their fenced blocks.

A comment right above a block says what is special about it; CONTRIBUTING.md tells writers the rules:

    <!-- not run: REASON -->        its lines are not run
    <!-- ends with 65: REASON -->   the code that each billing-etl line of it ends with
    <!-- file: NAME -->             it is the text of that file, for the lines that follow
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
"""The languages whose lines are commands; in a `console` those with a `$ ` in front, and the rest is output."""
_FENCE = re.compile(r" {0,3}(```+|~~~+)\s*([^\s`]*)")
_MARK = re.compile(r"<!-- (not run|ends with (\d+)|file): (.+) -->")
_HERE_DOCUMENT = re.compile(r"<<-?\s*['\"]?(\w+)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_STREAM = re.compile(r"(?<=\s)[012](?=[<>])")
_BETWEEN_COMMANDS = {"&&", "||", ";", "|", "|&", "&"}
_FUNCTION = re.compile(r'(\w+)\(\) \{ (.+) "\$@"; \}')
"""One that hands its arguments on."""
_AS_SOMEBODY = {"sudo", "-u", "-g", "-E", "-i", "-n", "exec", "command", "!"}
_STARTERS = {"env", "nice", "time", "timeout", "flock", "chronic", "runuser", "systemd-run"}
"""They start the program that stands behind their own options."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        line: Where its fence stands, from 1.
        not_run: The reason of its mark, if it has that.
        code: What its billing-etl lines end with.
        file: The name that its mark gives it, if it has that.
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
    """One simple command: what is set for it alone, its words, and whether the line answers its failure (`||`)."""

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
    """The simple commands of a shell block, in order, without what redirects them.

    Raises:
        ValueError: A line is none that a shell could read.
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
    """Lines, joined where a backslash continues them; a here document is left out."""
    begun, here = "", ""
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if here:
            here = "" if line.strip() == here else here
        elif block.language == "console" and not begun and not line.startswith("$ "):
            continue
        else:
            whole = begun + (line.removeprefix("$ ") if block.language == "console" else line)
            begun = f"{whole[:-1]} " if whole.endswith("\\") else ""
            if not begun:
                here = match[1] if (match := _HERE_DOCUMENT.search(whole)) else ""
                yield number, whole


def _command(line: int, shown: str, words: list[str], *, may_fail: bool) -> Command:
    variables: dict[str, str] = {}
    while words:
        first = words[0]
        if first in _STARTERS:
            words = words[_started_by(words) :]
        elif first in _AS_SOMEBODY:
            words = words[2 if first in {"-u", "-g"} else 1 :]
        elif _ASSIGNMENT.fullmatch(first):
            name, _, value = first.partition("=")
            variables[name] = value
            words = words[1:]
        else:
            break
    return Command(line, shown, variables, tuple(words), may_fail)


def _started_by(words: list[str]) -> int:
    """Where that begins what another program starts: behind its `--`, or else with the last word that is ours."""
    if words[0] == "env":
        return 1
    if "--" in words:
        return words.index("--") + 1
    return max((place for place, word in enumerate(words) if is_ours(word)), default=1)


def is_ours(word: str) -> bool:
    """Whether a word starts billing-etl, wherever it is installed."""
    return Path(word).name == "billing-etl"
