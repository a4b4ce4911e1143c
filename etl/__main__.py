"""`billing-etl`, which is `python -m etl` as well."""

import gc


def main() -> None:
    """Run the command line and end the process with the contract's exit code."""
    # A run makes tuples by the million and hardly a cycle: the collector would look at each of them again and again.
    # It would at what is imported, too, so that comes after.
    gc.disable()
    from etl.cli import main as run

    try:
        run()
    finally:
        # Else the interpreter, on its way out, looks through everything once more for cycles to clear.
        gc.freeze()


if __name__ == "__main__":
    main()
