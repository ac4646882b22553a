"""Embeddings, in OpenAI's words and in Gemini's.

`neutral` is what is asked and answered; `openai` and `gemini` read and write it. Gemini has two calls, for one
text and for many; the caller says which one a client made, and requests are always written as the second.
"""
