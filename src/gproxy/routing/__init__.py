"""Where to: candidates, health, selection."""
