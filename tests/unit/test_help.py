"""The help: sections and topics; every command has examples, and each of them is a valid command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from etl.cli import cli
from etl.cli.help_pages import TOPICS
from etl.cli.output import OutputOptions

SECTIONS = ["Sync", "Inspect", "Finance", "Export", "Maintain", "Set up"]


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


def test_help_shows_every_command_in_a_section_with_its_full_summary():
    context = click.Context(cli, info_name="billing-etl", terminal_width=80)
    text = cli.get_help(context)
    assert re.findall(r"^(\w[\w ]*):$", text, re.MULTILINE) == ["Options", *SECTIONS]
    assert "..." not in text.partition("\nSync:")[2]
    assert max(map(len, text.splitlines())) <= 80
    for name, command in cli.commands.items():
        assert re.search(rf"^  {name} +{re.escape(command.get_short_help_str(100))}$", text, re.MULTILINE)


@pytest.mark.parametrize("topic", [[], ["settings"], ["exit-codes"], ["sync"], ["account"], ["account", "rename"]])
def test_help_on_a_topic_group_or_command_fits_80_columns(topic):
    shown = CliRunner().invoke(cli, ["help", *topic], terminal_width=80)
    assert shown.exit_code == 0
    assert "Options:" in shown.output or topic[0] in TOPICS
    assert max(map(len, shown.output.splitlines())) <= 80


def test_help_on_an_unknown_topic_names_the_closest_one():
    shown = CliRunner().invoke(cli, ["help", "setings"])
    assert shown.exit_code == 2
    assert "did you mean settings?" in shown.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell):
    shown = CliRunner().invoke(cli, ["completion", shell])
    assert shown.exit_code == 0
    assert f"_BILLING_ETL_COMPLETE={shell}_complete" in shown.output


@pytest.mark.parametrize(
    ("arguments", "verbosity"),
    [
        (["-v", "help"], 1),
        (["help", "-v"], 1),
        (["-v", "help", "-v"], 2),
        (["help", "-vv"], 2),
        (["help", "account", "-q"], -1),
        (["-q", "help", "-v"], -1),
        (["-v", "help", "-q"], -1),
    ],
)
def test_verbosity_options_are_accepted_before_and_after_a_command(arguments, verbosity):
    options = OutputOptions()
    assert CliRunner().invoke(cli, arguments, obj=options).exit_code == 0
    assert options.verbosity == verbosity
