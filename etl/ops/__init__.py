"""Monitoring: status, lateness, metrics and heartbeats."""
