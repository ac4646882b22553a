"""Gemini generateContent.

A stream is server-sent events or one JSON array; a client says which by `alt=sse` in its query. Both are read, the
first byte tells; events are written, and `translate.array` makes an array of them for a client that wants one.

The dialect's object is `dialogue.PROTOCOL`; importing this package alone loads nothing.
"""
