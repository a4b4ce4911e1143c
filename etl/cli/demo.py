"""Commands for trying the program out: demo, sandbox."""

from __future__ import annotations

import click

from etl.cli.exit_codes import ExitCode
from etl.cli.output import OutputOptions
from etl.errors import ConfigError


@click.command()
@click.pass_obj
def demo(options: OutputOptions) -> int:
    """Show the whole job, with nothing to configure.

    Two nights against the built-in sandbox, into billing-demo.db in this folder.
    """
    from etl.cli.demo_scenario import run_demo

    return run_demo(options.redact)


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option("--token", metavar="T", help="The token it takes; a made-up one unless given.")
def sandbox(*, port: int, token: str | None) -> int:
    """Serve an imitation of the vendor."""
    from etl.sandbox import DEFAULT_TOKEN
    from etl.sandbox.server import serve

    try:
        serve(port=port, token=token or DEFAULT_TOKEN)
    except OSError as error:
        raise ConfigError(f"--port {port}: {error.strerror or error}") from None
    return ExitCode.OK
