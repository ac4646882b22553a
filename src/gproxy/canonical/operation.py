"""What is asked, and in which wire format."""

from __future__ import annotations

from enum import StrEnum


class Operation(StrEnum):
    """What a request asks for."""

    GENERATE = "generate"
    STREAM = "stream"
    COUNT_TOKENS = "count_tokens"
    COMPACT = "compact"
    GET_RESPONSE = "get_response"
    DELETE_RESPONSE = "delete_response"
    LIST_INPUT_ITEMS = "list_input_items"
    EMBED = "embed"
    LIST_MODELS = "list_models"
    GET_MODEL = "get_model"
    CREATE_IMAGE = "create_image"
    EDIT_IMAGE = "edit_image"
    SPEECH = "speech"
    TRANSCRIBE = "transcribe"
    MODERATE = "moderate"
    RERANK = "rerank"
    COMPLETE = "complete"
    REALTIME = "realtime"


class Dialect(StrEnum):
    """A wire format."""

    OPENAI_CHAT = "openai_chat"
    OPENAI_RESPONSES = "openai_responses"
    ANTHROPIC_MESSAGES = "anthropic_messages"
    GEMINI = "gemini"
    OPENAI_EMBEDDINGS = "openai_embeddings"
    OPENAI_IMAGES = "openai_images"
    OPENAI_AUDIO = "openai_audio"
    OPENAI_MODERATIONS = "openai_moderations"
    OPENAI_COMPLETIONS = "openai_completions"
    RERANK = "rerank"
    BEDROCK_CONVERSE = "bedrock_converse"
    """Amazon Bedrock's Converse. Vendors are spoken to in it; no client is."""


GENERATE_DIALECTS = (Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES, Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI)
"""What a client may speak to generate, and a vendor too."""

VENDOR_ONLY = (Dialect.BEDROCK_CONVERSE,)
"""What no client speaks."""

VENDOR_DIALECTS = (*GENERATE_DIALECTS, *VENDOR_ONLY)
"""What a vendor may be spoken to in to generate: the clients' dialects, and those that only vendors have."""
