"""The command line: starts things, nothing else. Heavy imports live inside the commands."""
