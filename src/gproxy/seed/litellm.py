"""A LiteLLM `config.yaml` → a `Seed`: its model list as providers, models and routes. Text in, values out.

Read are `model_list` (https://docs.litellm.ai/docs/proxy/configs) with `litellm_params`, `model_info`'s prices, and
`router_settings.model_group_alias`. References `os.environ/NAME` are taken from the environment that is given.
What has no counterpart here is told in a note; what is wrong is a problem with its place. Several deployments of
one `model_name` become a route, as they are one name with several ways in LiteLLM.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gproxy.channels.overrides import check_settings
from gproxy.channels.vendor import Vendor
from gproxy.ledger.pricing import PriceError, RateCard
from gproxy.secret import Secret
from gproxy.seed.schema import Seed, SeedAlias, SeedCredential, SeedModel, SeedProvider, SeedRoute, provider_name_fault
from gproxy.snapshot import Member

_ENVIRONMENT: Final = "os.environ/"
_ALIASES: Final[Mapping[str, str]] = {
    "text-completion-openai": "openai",
    "azure": "azure_openai",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "gemini": "aistudio",
    "vertex_ai": "vertex",
    "vertex_ai_beta": "vertex",
    "hosted_vllm": "vllm",
    "nvidia_nim": "nvidia",
    "vercel_ai_gateway": "vercel",
    "openai_like": "custom",
    "custom_openai": "custom",
    "cohere_chat": "cohere",
    "ollama_chat": "ollama",
    "bedrock_converse": "bedrock",
}
"""LiteLLM's provider prefix → our channel, where the names differ."""
_ROADS: Final[Mapping[str, tuple[str, ...]]] = {"bedrock": ("converse/", "invoke/")}
"""What stands before a channel's model ids there to choose how the model is reached, which the channel knows itself."""
_SECRETS: Final[Mapping[str, str]] = {
    "api_key": "api_key",
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
}
_SETTINGS: Final[Mapping[str, str]] = {
    "api_base": "base_url",
    "base_url": "base_url",
    "api_version": "api_version",
    "aws_region_name": "region",
    "vertex_project": "project",
    "vertex_location": "location",
}
_PRICES: Final[Mapping[str, str]] = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
}
"""USD per token there, USD per million tokens here."""
_KNOWN: Final = frozenset({"model", "weight", "order", "rpm", "tpm", *_SECRETS, *_SETTINGS, *_PRICES})
_ODD: Final = re.compile(r"[^A-Za-z0-9._~-]+")


class NotUnderstood(Exception):  # noqa: N818 - it is an answer
    """The document cannot be brought in; `problems` say where and why."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Found:
    """What the document says in our terms, and what of it has no counterpart here."""

    seed: Seed
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Provider:
    """A provider while it is put together: one per channel and settings."""

    name: str
    channel: str
    settings: dict[str, Any]
    pool: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Deployment:
    """One entry of the model list."""

    public: str
    provider: str
    model_id: str
    weight: int
    tier: int


def from_litellm(text: str, env: Mapping[str, str], channels: Mapping[str, Vendor]) -> Found:
    """Read a `config.yaml`. Raises `NotUnderstood` with every problem."""
    import yaml  # late: of all commands one needs it

    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" (line {mark.line + 1})"
        raise NotUnderstood(f"the file is not valid YAML{where}") from None
    if not isinstance(document, dict):
        raise NotUnderstood("the file must be a mapping with a model_list")
    return _Reader(env, channels).read(document)


class _Reader:
    def __init__(self, env: Mapping[str, str], channels: Mapping[str, Vendor]) -> None:
        self._env = env
        self._channels = channels
        self._problems: list[str] = []
        self._notes: list[str] = []
        self._providers: list[_Provider] = []
        self._models: dict[tuple[str, str], SeedModel] = {}
        self._deployments: list[_Deployment] = []

    def read(self, document: dict[Any, Any]) -> Found:
        """The whole document."""
        listed = document.get("model_list")
        if not isinstance(listed, list) or not listed:
            raise NotUnderstood("model_list: is missing or empty")
        for number, entry in enumerate(listed):
            self._entry(f"model_list[{number}]", entry)
        for name in document:
            if name not in {"model_list", "router_settings"}:
                self._notes.append(f"{name}: is not brought in")
        names = self._aliases(document.get("router_settings"))
        if self._problems:
            raise NotUnderstood(*self._problems)
        routes, aliases = self._names(names)
        seed = Seed(
            providers=tuple(
                SeedProvider(
                    each.name,
                    each.channel,
                    settings=each.settings,
                    credentials=tuple(
                        SeedCredential({name: Secret(value) for name, value in fields.items()}) for fields in each.pool
                    ),
                )
                for each in self._providers
            ),
            models=tuple(self._models.values()),
            aliases=aliases,
            routes=routes,
        )
        return Found(seed, tuple(self._notes))

    def _entry(self, where: str, entry: Any) -> None:
        params = entry.get("litellm_params") if isinstance(entry, dict) else None
        if not isinstance(params, dict):
            self._problems.append(f"{where}.litellm_params: is missing")
            return
        public, model = entry.get("model_name"), params.get("model")
        if not isinstance(public, str) or not public or not isinstance(model, str) or not model:
            self._problems.append(f"{where}: model_name and litellm_params.model must be texts")
            return
        if "*" in public or "*" in model:
            self._notes.append(f"{where}: wildcard models are not brought in; pull the provider's models instead")
            return
        head, slash, tail = model.partition("/")
        custom = params.get("custom_llm_provider")
        prefix, model_id = (str(custom), model) if custom else (head, tail) if slash else ("openai", model)
        channel = _ALIASES.get(prefix, prefix)
        for road in _ROADS.get(channel, ()):
            model_id = model_id.removeprefix(road)
        if prefix == "openai" and params.get("api_base"):
            channel = "custom"
        if channel not in self._channels:
            self._problems.append(f"{where}.litellm_params.model: there is no channel for {prefix!r}")
            return
        provider = self._provider(where, channel, params)
        if provider is None:
            return
        info = entry.get("model_info")
        card = self._card(where, {**params, **(info if isinstance(info, dict) else {})})
        self._models[provider.name, model_id] = SeedModel(provider.name, model_id, card=card)
        for name in ("rpm", "tpm"):
            if name in params:
                self._notes.append(
                    f"{where}.{name}: not brought in: cap the credential (rpm, tpm) or limit users with rate_limits"
                )
        odd = sorted(str(name) for name in params if name not in _KNOWN and name != "custom_llm_provider")
        if odd:
            self._notes.append(f"{where}.litellm_params: {', '.join(odd)} are not brought in")
        weight = params.get("weight", 1)
        order = params.get("order", 1)
        whole = all(type(each) is int and 0 < each <= 1000 for each in (weight, order))
        if not whole:
            self._problems.append(f"{where}: weight and order must be whole numbers from 1 to 1000")
            return
        self._deployments.append(_Deployment(public, provider.name, model_id, weight, order - 1))

    def _provider(self, where: str, channel: str, params: Mapping[str, Any]) -> _Provider | None:
        settings = {
            ours: self._value(where, theirs, params) for theirs, ours in _SETTINGS.items() if params.get(theirs)
        }
        if channel == "custom":
            settings["dialect"] = "openai_chat"
        fields = {ours: self._value(where, theirs, params) for theirs, ours in _SECRETS.items() if params.get(theirs)}
        for each in self._providers:
            if (each.channel, each.settings) == (channel, settings):
                if fields and fields not in each.pool:
                    each.pool.append(fields)
                return each
        wrong = check_settings(self._channels[channel], settings)
        if wrong:
            self._problems += [f"{where}.litellm_params: {each}" for each in wrong]
            return None
        taken = {each.name for each in self._providers}
        base = _ODD.sub("-", channel)
        name = next(text for text in (base, *(f"{base}-{number}" for number in range(2, 10_000))) if text not in taken)
        assert provider_name_fault(name) is None
        made = _Provider(name, channel, settings, [fields] if fields else [])
        self._providers.append(made)
        return made

    def _value(self, where: str, name: str, params: Mapping[str, Any]) -> str:
        value = params[name]
        if not isinstance(value, str):
            self._problems.append(f"{where}.litellm_params.{name}: must be a text")
            return ""
        if not value.startswith(_ENVIRONMENT):
            return value
        variable = value.removeprefix(_ENVIRONMENT)
        found = self._env.get(variable)
        if not found:
            self._problems.append(f"{where}.litellm_params.{name}: the variable {variable} is not set")
        return found or ""

    def _card(self, where: str, params: Mapping[str, Any]) -> RateCard | None:
        prices = {}
        for theirs, ours in _PRICES.items():
            value = params.get(theirs)
            if value is not None:
                try:
                    prices[ours] = round(float(value) * 1_000_000, 9)
                except (TypeError, ValueError):
                    self._problems.append(f"{where}.{theirs}: must be a number")
        if not prices:
            return None
        try:
            return RateCard.from_fields({"price": prices})
        except PriceError as error:
            self._problems.append(f"{where}: {error.field}: {error.text}")
            return None

    def _aliases(self, router: Any) -> dict[str, str]:
        given = router.get("model_group_alias") if isinstance(router, dict) else None
        found = {}
        publics = {each.public for each in self._deployments}
        for alias, target in given.items() if isinstance(given, dict) else ():
            name = target.get("model") if isinstance(target, dict) else target
            if name in publics:
                found[str(alias)] = str(name)
            else:
                self._problems.append(f"router_settings.model_group_alias.{alias}: there is no model {name!r}")
        return found

    def _names(self, names: Mapping[str, str]) -> tuple[tuple[SeedRoute, ...], tuple[SeedAlias, ...]]:
        """Public names: one way is an alias (or the model itself), several are a route."""
        groups: dict[str, list[_Deployment]] = {}
        for each in self._deployments:
            ways = groups.setdefault(each.public, [])
            if not any((way.provider, way.model_id) == (each.provider, each.model_id) for way in ways):
                ways.append(each)
        wanted = {**groups, **{name: groups[target] for name, target in names.items()}}
        routes: list[SeedRoute] = []
        aliases: list[SeedAlias] = []
        count: dict[str, int] = {}
        for _, model_id in self._models:
            count[model_id] = count.get(model_id, 0) + 1
        for name, ways in wanted.items():
            if len(ways) > 1:
                members = tuple(Member(way.provider, way.model_id, way.tier, way.weight) for way in ways)
                routes.append(SeedRoute(name, "weighted", members))
            elif (name, count.get(name)) != (ways[0].model_id, 1):
                aliases.append(SeedAlias(name, ways[0].provider, ways[0].model_id))
        return tuple(routes), tuple(aliases)
