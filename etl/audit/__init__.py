"""Audit: look at the database, the vendor and the settings. Nothing here writes."""
