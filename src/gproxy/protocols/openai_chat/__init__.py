"""OpenAI Chat Completions: the reference for how a dialect's folder looks.

The dialect's object is `dialogue.PROTOCOL`; importing this package alone loads nothing.
"""
