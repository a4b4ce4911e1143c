"""Exports, the report and the dashboard, all of which read the views."""
