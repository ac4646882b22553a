"""Dialect to dialect, per attempt."""
