"""The database. Opened only by runtime and cli."""
