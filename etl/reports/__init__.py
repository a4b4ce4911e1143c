"""Exports, reports and the dashboard, all read from the views."""
