"""A LiteLLM `config.yaml` → a `Seed`: its model list as providers, models and routes. Text in, values out.

Read are `model_list` (https://docs.litellm.ai/docs/proxy/configs) with `litellm_params` and `model_info`'s prices, and
of the settings aliases, fallbacks, the strategy, retries and timeouts. References `os.environ/NAME` are taken from the
environment that is given.
What has no counterpart here is told in a note; what is wrong is a problem with its place. Several deployments of
one `model_name` become a route, as they are one name with several ways in LiteLLM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gproxy.channels.overrides import check_settings
from gproxy.channels.vendor import Vendor
from gproxy.ledger.pricing import PriceError, RateCard
from gproxy.secret import Secret
from gproxy.seed.schema import Scalar, Seed, SeedCredential, SeedModel, SeedProvider
from gproxy.seed.takeover import Found, NotUnderstood, Way, path_name, public_names

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
_ENTRY: Final = frozenset({"model_name", "litellm_params", "model_info"})
_STRATEGIES: Final[Mapping[str, str]] = {"simple-shuffle": "weighted", "least-busy": "least_in_flight"}
_SECTIONS: Final = frozenset({"model_list", "router_settings", "litellm_settings", "general_settings"})
_MOST_ATTEMPTS: Final = 100
_LONGEST: Final = 86_400
_KNOWN: Final = frozenset({"model", "weight", "order", "rpm", "tpm", *_SECRETS, *_SETTINGS, *_PRICES})


@dataclass(slots=True)
class _Provider:
    """A provider while it is put together: one per channel and settings."""

    name: str
    channel: str
    settings: dict[str, Any]
    pool: list[dict[str, str]] = field(default_factory=list)


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
        self._settings: dict[str, Scalar] = {}
        self._providers: list[_Provider] = []
        self._models: dict[tuple[str, str], SeedModel] = {}
        self._groups: dict[str, list[Way]] = {}

    def read(self, document: dict[Any, Any]) -> Found:
        """The whole document."""
        listed = document.get("model_list")
        if not isinstance(listed, list) or not listed:
            raise NotUnderstood("model_list: is missing or empty")
        for number, entry in enumerate(listed):
            self._entry(f"model_list[{number}]", entry)
        for name in ("litellm_settings", "general_settings"):
            self._general(name, document.get(name))
        strategy = self._router(document.get("router_settings"))
        for name in document:
            if name not in _SECTIONS:
                self._notes.append(f"{name}: is not brought in")
        if self._problems:
            raise NotUnderstood(*self._problems)
        routes, aliases = public_names(self._groups, self._models, strategy)
        seed = Seed(
            settings=self._settings,
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
        info = info if isinstance(info, dict) else {}
        card = self._card(where, {**params, **info})
        self._models[provider.name, model_id] = SeedModel(provider.name, model_id, card=card)
        for name in ("rpm", "tpm"):
            if name in params:
                self._notes.append(
                    f"{where}.{name}: not brought in: cap the credential (rpm, tpm) or limit users with rate_limits"
                )
        odd = sorted(str(name) for name in params if name not in _KNOWN and name != "custom_llm_provider")
        if odd:
            self._notes.append(f"{where}.litellm_params: {', '.join(odd)} are not brought in")
        self._notes += [f"{where}.{key}: is not brought in" for key in entry if key not in _ENTRY]
        self._notes += [f"{where}.model_info.{key}: is not brought in" for key in info if key not in _PRICES]
        weight = params.get("weight", 1)
        order = params.get("order", 1)
        whole = all(type(each) is int and 0 < each <= 1000 for each in (weight, order))
        if not whole:
            self._problems.append(f"{where}: weight and order must be whole numbers from 1 to 1000")
            return
        self._groups.setdefault(public, []).append(Way(provider.name, model_id, order - 1, weight))

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
        name = path_name(channel, {each.name for each in self._providers})
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

    def _router(self, router: Any) -> str:
        """What of `router_settings` has a counterpart: other names for groups, and how routes choose (the result)."""
        given = self._section("router_settings", router)
        self._fallbacks("router_settings", given)  # before the aliases, which lead where their group does
        for alias, target in self._table(
            "router_settings.model_group_alias", given.pop("model_group_alias", {})
        ).items():
            name = target.get("model") if isinstance(target, dict) else target
            if isinstance(name, str) and name in self._groups:
                self._groups[str(alias)] = list(self._groups[name])
            else:
                self._problems.append(f"router_settings.model_group_alias.{alias}: there is no model {name!r}")
        self._retries("router_settings", given)
        self._timeout("router_settings.timeout", given.pop("timeout", None))
        said = str(given.pop("routing_strategy", "simple-shuffle"))
        if said not in _STRATEGIES:
            self._notes.append(f"router_settings.routing_strategy: {said!r} has no counterpart; routes go by weight")
        self._left("router_settings", given)
        return _STRATEGIES.get(said, "weighted")

    def _general(self, name: str, section: Any) -> None:
        """What of `litellm_settings` and `general_settings` has a counterpart."""
        given = self._section(name, section)
        self._fallbacks(name, given)
        self._retries(name, given)
        self._timeout(f"{name}.request_timeout", given.pop("request_timeout", None))
        if given.pop("master_key", None) is not None:
            self._notes.append(
                f"{name}.master_key: is not brought in; an administrator's key is made here, or given to `gproxy serve` "
                "as GPROXY_ADMIN_API_KEY"
            )
        self._left(name, given)

    def _section(self, name: str, value: Any) -> dict[Any, Any]:
        return dict(self._table(name, {} if value is None else value))

    def _table(self, name: str, value: Any) -> Mapping[Any, Any]:
        if isinstance(value, dict):
            return value
        self._problems.append(f"{name}: must be a mapping")
        return {}

    def _left(self, name: str, given: Mapping[Any, Any]) -> None:
        self._notes += [f"{name}.{key}: is not brought in" for key in given]

    def _fallbacks(self, name: str, given: dict[Any, Any]) -> None:
        """`fallbacks: [{group: [groups]}]` become lower tiers of the group's route."""
        where = f"{name}.fallbacks"
        listed = given.pop("fallbacks", None) or []
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            self._problems.append(f"{where}: must be a list of mappings")
            return
        # Those of the groups themselves, not those that a fallback has just added to them.
        own = {group: list(ways) for group, ways in self._groups.items()}
        for group, others in ((group, others) for each in listed for group, others in each.items()):
            named = isinstance(others, list) and all(isinstance(other, str) and other in own for other in others)
            if group not in own or not named:
                self._notes.append(f"{where}.{group}: names a model that is not brought in, or is no list of names")
                continue
            for other in others:
                below = max(way.tier for way in self._groups[group]) + 1
                first = min(way.tier for way in own[other])
                self._groups[group] += [way.at(below + way.tier - first) for way in own[other]]

    def _retries(self, name: str, given: dict[Any, Any]) -> None:
        retries = given.pop("num_retries", None)
        if retries is None:
            return
        if type(retries) is int and 0 <= retries < _MOST_ATTEMPTS:
            self._settings["max_attempts"] = retries + 1
        else:
            self._problems.append(f"{name}.num_retries: must be a whole number below {_MOST_ATTEMPTS}")

    def _timeout(self, where: str, seconds: Any) -> None:
        if seconds is None:
            return
        if type(seconds) in {int, float} and 0 < seconds <= _LONGEST:
            self._settings["total_timeout"] = seconds
        else:
            self._problems.append(f"{where}: must be a number of seconds from 0 to {_LONGEST}")
