"""Load: compare days with the ledger and write the differences, one transaction per window."""
