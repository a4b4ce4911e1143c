"""Load: compare whole days with the ledger and write the difference, one transaction a window."""
