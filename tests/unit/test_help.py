"""The help of every command has examples, and each of them is a valid command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from etl.cli import cli


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that is not a group, by its name on the command line."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield " ".join([*path, name]), command


COMMANDS = dict(commands(cli))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_of_the_help_is_valid(name):
    examples = re.findall(r"^  billing-etl (.+)$", COMMANDS[name].epilog or "", re.MULTILINE)
    assert examples
    for example in examples:
        assert example.startswith(name)
        arguments = shlex.split(example.removeprefix(name).partition(" > ")[0])
        COMMANDS[name].make_context(name, arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_has_a_help_text(name):
    options = [parameter for parameter in COMMANDS[name].params if isinstance(parameter, click.Option)]
    assert [option.opts for option in options if not option.help] == []
