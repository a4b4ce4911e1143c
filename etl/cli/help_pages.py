"""The help of the program: commands by section, topics, and the completion scripts of shells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import click

from etl.cli.options import examples
from etl.config.schema import SETTINGS
from etl.exit_codes import EXIT_CODES, ExitCode
from etl.suggestions import similar_names

WIDTH: Final = 80
"""Columns of a topic."""


class SectionedGroup(click.Group):
    """The group of all commands; its help lists them in sections, by purpose."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]  # passed on as they are
        self._sections: dict[str, tuple[click.Command, ...]] = {}

    def add_section(self, title: str, *commands: click.Command) -> None:
        """Add commands below a title of the help."""
        self._sections[title] = commands
        for command in commands:
            self.add_command(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - overrides click's
        """Write the sections, with the summaries of all of them in one column."""
        longest = max(len(name) for name in self.commands)
        limit = formatter.width - 6 - longest
        for title, commands in self._sections.items():
            rows = [((command.name or "").ljust(longest), command.get_short_help_str(limit)) for command in commands]
            with formatter.section(title):
                formatter.write_dl(rows)


def _settings_topic() -> str:
    lines = ["Settings, by precedence: environment variables, .env file, TOML file (--config)."]
    lines += ["'billing-etl config show' prints the value of each, and where it comes from.", ""]
    for setting in SETTINGS:
        default = "" if setting.default is None else f" [{setting.default}]"
        lines += [f"  {setting.variable}{default}", _indented(setting.meaning)]
    files = ", ".join(f"{setting.variable}_FILE" for setting in SETTINGS if setting.secret)
    lines += ["", "Files with the secrets, in place of the variables without _FILE:", _indented(files)]
    return "\n".join([*lines, _indented("systemd credentials such as billing_api_token work too")])


def _exit_codes_topic() -> str:
    return "\n".join(["Exit codes:", *(f"  {code:<3}  {meaning}" for code, meaning in EXIT_CODES.items())])


def _indented(text: str) -> str:
    return click.wrap_text(text, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)


TOPICS: Final[dict[str, Callable[[], str]]] = {"settings": _settings_topic, "exit-codes": _exit_codes_topic}
"""Help topics that are no commands."""


@click.command("help", epilog=examples("help settings", "help exit-codes", "help account rename"))
@click.argument("topic", nargs=-1, metavar="[TOPIC|COMMAND]...")
@click.pass_context
def show_help(context: click.Context, *, topic: tuple[str, ...]) -> int:
    """Show the help of a topic or a command.

    The topics are settings and exit-codes.
    """
    root = context.find_root()
    if len(topic) == 1 and topic[0] in TOPICS:
        click.echo(TOPICS[topic[0]]())
    else:
        click.echo(_help_of(root, topic))
    return ExitCode.OK


def _help_of(root: click.Context, path: Sequence[str]) -> str:
    """The help of the command at a path of names.

    Raises:
        click.UsageError: There is none.
    """
    current = root
    for name in path:
        group = current.command
        command = group.get_command(current, name) if isinstance(group, click.Group) else None
        if command is None:
            known = [*group.commands] if isinstance(group, click.Group) else []
            similar = similar_names(name, [*known, *TOPICS])
            hint = f"; did you mean {similar[0]}?" if similar else ""
            raise click.UsageError(f"there is no help on {' '.join(path)!r}{hint}", ctx=root)
        current = click.Context(command, info_name=name, parent=current)
    return current.command.get_help(current)


@click.command(epilog=examples("completion bash > ~/.local/share/bash-completion/completions/billing-etl"))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> int:
    """Print the completion script of a shell.

    \b
    bash   save it as ~/.local/share/bash-completion/completions/billing-etl
    zsh    save it as _billing-etl in a folder of $fpath
    fish   save it as ~/.config/fish/completions/billing-etl.fish
    """  # noqa: D301 - \b is click's marker for lines that must not be rewrapped
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    script = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}[shell]
    click.echo(script(context.find_root().command, {}, "billing-etl", "_BILLING_ETL_COMPLETE").source())
    return ExitCode.OK
