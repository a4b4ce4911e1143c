"""Extract: raw records from the vendor's HTTP API, and the choice between its two sources, JSON and CSV."""
