"""Commands for trying the program out: demo, sandbox."""

from __future__ import annotations

import click

from etl.cli.options import examples
from etl.cli.output import OutputOptions
from etl.errors import ConfigError
from etl.exit_codes import ExitCode


@click.command(epilog=examples("demo"))
@click.pass_obj
def demo(options: OutputOptions) -> int:
    """Show the whole job, without configuration.

    Runs two nights against the built-in sandbox, into billing-demo.db in the current folder.
    """
    from etl.cli.demo_scenario import run_demo

    return run_demo(options)


@click.command(epilog=examples("sandbox --port 8080"))
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port to listen on; 0 for any free port.",
)
@click.option("--token", metavar="TOKEN", help="The only valid token; a documented one unless given.")
def sandbox(*, port: int, token: str | None) -> int:
    """Serve an imitation of the vendor's API."""
    from etl.sandbox import DEFAULT_TOKEN
    from etl.sandbox.server import serve

    try:
        serve(port=port, token=token or DEFAULT_TOKEN)
    except OSError as error:
        raise ConfigError(f"--port {port}: {error.strerror or error}") from None
    return ExitCode.OK
