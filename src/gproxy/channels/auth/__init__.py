"""How requests are signed, one file per way."""
