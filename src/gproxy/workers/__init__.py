"""The background workers and the set that owns them."""
