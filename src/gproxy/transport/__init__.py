"""The upstream network. Opened only by runtime and cli."""
