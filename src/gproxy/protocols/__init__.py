"""One folder per dialect."""
