"""The web console's assets."""
