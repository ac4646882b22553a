"""`generationConfig`, both ways: sampling, thinking, the form of the answer, speech."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.request import Effort, OutputFormat, OutputKind, Reasoning, Request, Sampling, Speech
from gproxy.protocols.effort import budget_of
from gproxy.protocols.gemini import schema
from gproxy.protocols.gemini.names import OWN, generation, integer, named, number
from gproxy.protocols.reading import at, flag, of_own, table, text, texts

if TYPE_CHECKING:
    from collections.abc import Mapping

WHERE: Final = "generationConfig"
_READ: Final = frozenset(
    {
        "temperature", "topP", "topK", "maxOutputTokens", "stopSequences", "seed", "presencePenalty",
        "frequencyPenalty", "candidateCount", "responseLogprobs", "logprobs", "responseMimeType", "responseSchema",
        "responseJsonSchema", "_responseJsonSchema", "thinkingConfig", "responseModalities", "speechConfig",
    }
)  # fmt: skip
_OUTPUT: Final = ("responseMimeType", "responseSchema", "responseJsonSchema", "_responseJsonSchema")
_JSON: Final = "application/json"
_LEVELS: Final = {
    "MINIMAL": Effort.MINIMAL,
    "LOW": Effort.LOW,
    "MEDIUM": Effort.MEDIUM,
    "HIGH": Effort.HIGH,
}
_LARGEST_BUDGET: Final = 24576
"""The largest budget that every thinking model of generation 2.5 takes (ai.google.dev, "Thinking budgets")."""
_VOICES: Final = frozenset(
    {
        "Zephyr", "Puck", "Charon", "Kore", "Fenrir", "Leda", "Orus", "Aoede", "Callirrhoe", "Autonoe", "Enceladus",
        "Iapetus", "Umbriel", "Algieba", "Despina", "Erinome", "Algenib", "Rasalgethi", "Laomedeia", "Achernar",
        "Alnilam", "Schedar", "Gacrux", "Pulcherrima", "Achird", "Zubenelgenubi", "Vindemiatrix", "Sadachbia",
        "Sadaltager", "Sulafat",
    }
)  # fmt: skip


# --- reading ---


def left_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that have no neutral home."""
    return {k: v for k, v in config.items() if k not in _READ and v is not None}


def sampling_of(config: Mapping[str, Any]) -> Sampling:
    """How tokens are drawn."""
    return Sampling(
        temperature=number(config, "temperature", WHERE),
        top_p=number(config, "topP", WHERE),
        top_k=integer(config, "topK", WHERE),
        max_output_tokens=integer(config, "maxOutputTokens", WHERE),
        stop=texts(config, "stopSequences", WHERE),
        seed=integer(config, "seed", WHERE),
        n=integer(config, "candidateCount", WHERE),
        presence_penalty=number(config, "presencePenalty", WHERE),
        frequency_penalty=number(config, "frequencyPenalty", WHERE),
        logprobs=flag(config, "responseLogprobs", WHERE),
        top_logprobs=integer(config, "logprobs", WHERE),
    )


def reasoning_of(config: Mapping[str, Any]) -> Reasoning | None:
    """`thinkingConfig`: -1 leaves the amount to the model, 0 switches thinking off."""
    raw = table(config, "thinkingConfig", WHERE)
    if raw is None:
        return None
    where = at(WHERE, "thinkingConfig")
    thinking = named(raw)
    budget = integer(thinking, "thinkingBudget", where)
    level = text(thinking, "thinkingLevel", where)
    shown = flag(thinking, "includeThoughts", where)
    return Reasoning(
        enabled=False if budget == 0 else None,
        effort=_LEVELS.get(level.upper()) if level else None,
        budget=budget if budget is not None and budget >= 0 else None,
        adaptive=True if budget is not None and budget < 0 else None,
        show=None if shown is None else "auto" if shown else "none",
        extras={OWN: {"thinkingConfig": raw}},
    )


def output_of(config: Mapping[str, Any]) -> OutputFormat | None:
    """`responseMimeType` and the schema beside it."""
    mime = text(config, "responseMimeType", WHERE)
    own = {key: config[key] for key in _OUTPUT if config.get(key) is not None}
    if not own:
        return None
    json_schema = table(config, "responseJsonSchema", WHERE) or table(config, "_responseJsonSchema", WHERE)
    if json_schema is None:
        form = table(config, "responseSchema", WHERE)
        json_schema = None if form is None else schema.to_json_schema(form)
    if json_schema is not None:
        return OutputFormat(OutputKind.SCHEMA, json_schema, extras={OWN: own})
    if mime == _JSON:
        return OutputFormat(OutputKind.JSON)
    return OutputFormat(OutputKind.TEXT, extras={OWN: own} if mime != "text/plain" else {})


def modalities_of(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The kinds of output asked for, in lower case."""
    found = texts(config, "responseModalities", WHERE)
    return None if found is None else tuple(kind.lower() for kind in found)


def speech_of(config: Mapping[str, Any]) -> Speech | None:
    """`speechConfig`; the whole of it travels beside the voice."""
    raw = table(config, "speechConfig", WHERE)
    if raw is None:
        return None
    inner: Any = raw
    for key in ("voiceConfig", "prebuiltVoiceConfig"):
        inner = named(inner).get(key) if isinstance(inner, dict) else None
    voice = named(inner).get("voiceName") if isinstance(inner, dict) else None
    return Speech(voice if isinstance(voice, str) else None, extras={OWN: {"speechConfig": raw}})


# --- writing ---


def written(request: Request, losses: Losses) -> dict[str, Any]:
    """The whole `generationConfig`; empty when nothing is said."""
    sampling = request.sampling
    config: dict[str, Any] = {
        "temperature": sampling.temperature,
        "topP": sampling.top_p,
        "topK": sampling.top_k,
        "maxOutputTokens": sampling.max_output_tokens,
        "stopSequences": None if sampling.stop is None else list(sampling.stop),
        "seed": sampling.seed,
        "candidateCount": sampling.n,
        "presencePenalty": sampling.presence_penalty,
        "frequencyPenalty": sampling.frequency_penalty,
        "responseLogprobs": sampling.logprobs,
        "logprobs": sampling.top_logprobs,
        "responseModalities": None if request.modalities is None else [kind.upper() for kind in request.modalities],
        "thinkingConfig": _written_reasoning(request.reasoning, generation(request.model), losses),
        "speechConfig": _written_speech(request.speech, losses),
    }
    if sampling.logit_bias:
        losses.add(Feature.LOGIT_BIAS, "logit_bias")
    config = {key: value for key, value in config.items() if value is not None}
    return {**config, **_written_output(request.output, losses), **of_own(request.extras, OWN).get(WHERE, {})}


def _written_output(output: OutputFormat | None, losses: Losses) -> dict[str, Any]:
    if output is None:
        return {}
    own = of_own(output.extras, OWN)
    if own:
        return dict(own)
    match output.kind:
        case OutputKind.TEXT:
            return {"responseMimeType": "text/plain"}
        case OutputKind.JSON:
            return {"responseMimeType": _JSON}
        case OutputKind.SCHEMA:
            form = schema.written(output.schema or {}, losses, Feature.OUTPUT_FORMAT, "schema")
            if output.description and "description" not in form:
                form["description"] = output.description
            return {"responseMimeType": _JSON, "responseJsonSchema": form}


def _written_speech(speech: Speech | None, losses: Losses) -> dict[str, Any] | None:
    if speech is None:
        return None
    own = of_own(speech.extras, OWN).get("speechConfig")
    if own is not None:
        return dict(own)
    if speech.format is not None or (speech.voice is not None and speech.voice not in _VOICES):
        # Sound comes as PCM, and other vendors' voices do not exist here.
        losses.add(Feature.AUDIO, "audio")
    if speech.voice not in _VOICES:
        return None
    return {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": speech.voice}}}


def _written_reasoning(reasoning: Reasoning | None, age: int | None, losses: Losses) -> dict[str, Any] | None:
    """Generation 3 has levels, the models before it budgets; budgets are what an unknown model most likely takes."""
    if reasoning is None:
        return None
    own = of_own(reasoning.extras, OWN).get("thinkingConfig")
    if own is not None:
        return dict(own)
    thinking = _level(reasoning, losses) if age is not None and age >= 3 else _budget(reasoning, losses)
    shown = reasoning.show != "none" if reasoning.show is not None else reasoning.enabled or None
    if shown is not None:
        thinking["includeThoughts"] = shown
    return thinking or None


def _level(reasoning: Reasoning, losses: Losses) -> dict[str, Any]:
    if reasoning.enabled is False or reasoning.effort is Effort.NONE:
        losses.add(Feature.REASONING, "reasoning")  # it cannot be switched off
        return {"thinkingLevel": "MINIMAL"}
    if reasoning.effort is not None:
        word = reasoning.effort.name
        if word not in _LEVELS:
            losses.add(Feature.REASONING, "reasoning")
        return {"thinkingLevel": word if word in _LEVELS else "HIGH"}
    if reasoning.adaptive:
        return {}
    return {} if reasoning.budget is None else _capped(reasoning.budget, losses)


def _budget(reasoning: Reasoning, losses: Losses) -> dict[str, Any]:
    if reasoning.enabled is False or reasoning.effort is Effort.NONE:
        return {"thinkingBudget": 0}
    if reasoning.budget is not None:
        return _capped(reasoning.budget, losses)
    if reasoning.effort is not None:
        return _capped(budget_of(reasoning.effort), losses)
    return {"thinkingBudget": -1} if reasoning.adaptive else {}


def _capped(budget: int, losses: Losses) -> dict[str, Any]:
    if budget > _LARGEST_BUDGET:
        losses.add(Feature.REASONING, "reasoning")
    return {"thinkingBudget": min(budget, _LARGEST_BUDGET)}
