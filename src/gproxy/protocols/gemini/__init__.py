"""Gemini generateContent.

`PROTOCOL` streams as server-sent events, `ARRAY` as a JSON array: a client says which by `alt=sse` in its query.
Reading is the same for both; the first byte tells.

The dialect's object is `dialogue.PROTOCOL`; importing this package alone loads nothing.
"""
