"""Checks that `billing-etl check` runs before a sync is trusted."""
