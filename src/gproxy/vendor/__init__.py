"""The simulated vendor: a real HTTP server that speaks every dialect, replays, misbehaves and counts."""
