"""Vendors as data."""
