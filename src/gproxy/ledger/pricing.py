"""Rate card + usage → integer nano-USD."""
