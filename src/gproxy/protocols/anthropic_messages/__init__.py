"""Anthropic Messages.

The dialect's object is `dialogue.PROTOCOL`; importing this package alone loads nothing.
"""
