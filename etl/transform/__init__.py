"""Transform: from raw records to canonical ones with an identity. Pure."""
