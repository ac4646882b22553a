"""Amazon Bedrock's Converse and ConverseStream, towards vendors only.

The dialect's object is `dialogue.PROTOCOL`; importing this package alone loads nothing.
"""
