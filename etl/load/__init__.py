"""Load: `compare` finds the differences of a window, `write` writes them, in one transaction per window."""
