"""`python -m etl` is `billing-etl`."""

from etl.cli import main

main()
