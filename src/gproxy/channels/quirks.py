"""The named exceptions that data cannot say: pure functions over a request body on its way to one vendor.

Each has a reason and a page. A quirk that has nothing to change returns the very object it was given, so that
the caller can tell and forward the original bytes. Bodies are never changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Body: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a quirk may know beside the body: the `anthropic-beta` values that apply to the request."""

    betas: tuple[str, ...] = ()


Quirk: TypeAlias = Callable[[Body, Facts], Body]


def anthropic_on_bedrock(body: Body, facts: Facts) -> Body:
    """InvokeModel names the model in the path, streams by path, and takes version and betas in the body.

    https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html
    """
    changed = {key: value for key, value in body.items() if key not in {"model", "stream"}}
    changed.setdefault("anthropic_version", "bedrock-2023-05-31")
    if facts.betas:
        named = changed.get("anthropic_beta")
        earlier = [beta for beta in named if isinstance(beta, str)] if isinstance(named, list) else []
        changed["anthropic_beta"] = list(dict.fromkeys((*earlier, *facts.betas)))
    return changed


def anthropic_on_vertex(body: Body, _facts: Facts) -> Body:
    """`rawPredict` names the model in the path and takes the version in the body.

    https://docs.anthropic.com/en/api/claude-on-vertex-ai
    """
    changed = {key: value for key, value in body.items() if key != "model"}
    changed.setdefault("anthropic_version", "vertex-2023-10-16")
    return changed


def anthropic_count_on_vertex(body: Body, _facts: Facts) -> Body:
    """The token counter is one model for all, so here the model stays in the body.

    https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/count-tokens
    """
    return body if "anthropic_version" in body else body | {"anthropic_version": "vertex-2023-10-16"}


def cap_as_max_tokens(body: Body, _facts: Facts) -> Body:
    """For vendors that know only the older name of the output cap. Unheard, the cap would not bound the cost.

    https://docs.mistral.ai/api/ · https://api-docs.deepseek.com/api/create-chat-completion ·
    https://docs.perplexity.ai/api-reference/chat-completions-post · https://docs.cohere.com/docs/compatibility-api
    """
    if "max_completion_tokens" not in body:
        return body
    changed = {key: value for key, value in body.items() if key != "max_completion_tokens"}
    changed.setdefault("max_tokens", body["max_completion_tokens"])
    return changed


def developer_as_system(body: Body, _facts: Facts) -> Body:
    """For vendors that refuse the `developer` role, which means what `system` meant before it.

    https://api-docs.deepseek.com/api/create-chat-completion · https://docs.mistral.ai/api/
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not any(_is_developer(message) for message in messages):
        return body
    renamed = [{**message, "role": "system"} if _is_developer(message) else message for message in messages]
    return body | {"messages": renamed}


def without_stream_options(body: Body, _facts: Facts) -> Body:
    """For vendors that refuse `stream_options`. They report usage at the end of every stream unasked.

    https://docs.mistral.ai/api/ · https://docs.cohere.com/docs/compatibility-api
    """
    if "stream_options" not in body:
        return body
    return {key: value for key, value in body.items() if key != "stream_options"}


def _is_developer(message: object) -> bool:
    return isinstance(message, dict) and message.get("role") == "developer"


QUIRKS: Final[Mapping[str, Quirk]] = {
    quirk.__name__: quirk
    for quirk in (
        anthropic_on_bedrock,
        anthropic_on_vertex,
        anthropic_count_on_vertex,
        cap_as_max_tokens,
        developer_as_system,
        without_stream_options,
    )
}


def apply_quirks(names: Iterable[str], body: Body, facts: Facts) -> Body:
    """The body after these quirks, in order; the same object when none had anything to change."""
    for name in names:
        body = QUIRKS[name](body, facts)
    return body
