"""Extract: from the vendor's HTTP API to raw records, and which of its two sources to believe."""
