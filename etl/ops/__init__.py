"""Status, lateness, metrics and heartbeats for those who operate the job."""
