"""Bootstrap settings: every one with its variable, default and sentence, once."""
