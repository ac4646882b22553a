"""One request, in phases."""
