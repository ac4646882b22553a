"""Bytes to frames and back. No meaning, bounded buffers, any chunk boundary."""
