"""The dashboard, served by Datasette from a snapshot."""
