"""The neutral vocabulary."""
