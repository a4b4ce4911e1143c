"""What people take away from the database: files and texts for those who read figures. Nothing here writes to it."""
