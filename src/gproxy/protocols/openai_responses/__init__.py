"""OpenAI Responses: a conversation as a list of items, some of which the vendor's own tools make.

The dialect's object is `dialogue.PROTOCOL`; importing this package alone loads nothing.
"""
