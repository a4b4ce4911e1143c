"""`python -m etl.sandbox`: the imitation of the vendor as a standalone program."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from etl.sandbox.server import DEFAULT_TOKEN, serve


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM.

    Returns:
        The exit code: 0, or 1 if the port cannot be opened.
    """
    parser = argparse.ArgumentParser(
        prog="python -m etl.sandbox", description="An imitation of the vendor's billing calls."
    )
    parser.add_argument("--port", type=int, default=8080, help="0 for any free port (default: %(default)s)")
    parser.add_argument("--token", default=DEFAULT_TOKEN, help="the only accepted token (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the generated records (default: %(default)s)")
    options = parser.parse_args(argv)
    try:
        serve(port=options.port, token=options.token, seed=options.seed)
    except OSError as error:
        sys.stderr.write(f"{error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
