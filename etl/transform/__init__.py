"""Transform: raw records to canonical records, and days to snapshots with a digest. Pure."""
