"""A LiteLLM configuration in our terms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.channels.loader import catalog
from gproxy.seed.litellm import from_litellm
from gproxy.seed.parse import parse
from gproxy.seed.render import render
from gproxy.seed.takeover import NotUnderstood

CONFIG = """
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      api_key: os.environ/OPENAI_API_KEY
      rpm: 60
  - model_name: gpt-4o
    litellm_params:
      model: azure/my-deployment
      api_base: https://one.openai.azure.com
      api_key: azure-key-0123456789
      weight: 3
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_key: os.environ/ANTHROPIC_API_KEY}
    model_info: {input_cost_per_token: 0.000003, output_cost_per_token: 0.000015, mode: chat}
    access_groups: [beta]
  - model_name: gpt-4o-mini
    litellm_params: {model: gpt-4o-mini, api_key: os.environ/OPENAI_API_KEY}
  - model_name: local
    litellm_params: {model: openai/qwen, api_base: "http://127.0.0.1:8000/v1", api_key: none-of-yours-1}
  - model_name: "*"
    litellm_params: {model: "openai/*"}
router_settings:
  model_group_alias: {best: claude, default: gpt-4o}
  routing_strategy: least-busy
  timeout: 90
  redis_host: localhost
litellm_settings:
  drop_params: true
  num_retries: 2
  fallbacks: [{claude: [gpt-4o, local]}, {gpt-4o: [nowhere]}]
general_settings: {master_key: sk-1234, database_url: "postgres://x"}
environment_variables: {X: y}
"""
ENV = {"OPENAI_API_KEY": "sk-openai-0123456789", "ANTHROPIC_API_KEY": "sk-ant-0123456789"}


def test_a_model_list_becomes_providers_models_and_names() -> None:
    found = from_litellm(CONFIG, ENV, catalog())
    seed = found.seed
    assert [(p.name, p.channel, len(p.credentials)) for p in seed.providers] == [
        ("openai", "openai", 1),
        ("azure_openai", "azure_openai", 1),
        ("anthropic", "anthropic", 1),
        ("custom", "custom", 1),
    ]
    assert seed.providers[0].credentials[0].fields["api_key"].reveal() == "sk-openai-0123456789"
    assert {(m.provider_name, m.model_id) for m in seed.models} == {
        ("openai", "gpt-4o"), ("azure_openai", "my-deployment"), ("anthropic", "claude-sonnet-4-5"),
        ("openai", "gpt-4o-mini"), ("custom", "qwen"),
    }  # fmt: skip
    assert {(a.alias, a.provider_name, a.model_id) for a in seed.aliases} == {
        ("local", "custom", "qwen"),
    }  # fmt: skip
    claude = [("anthropic", 0, 1), ("openai", 1, 1), ("azure_openai", 1, 3), ("custom", 2, 1)]
    assert [(r.name, [(m.provider_name, m.tier, m.weight) for m in r.members]) for r in seed.routes] == [
        ("gpt-4o", [("openai", 0, 1), ("azure_openai", 0, 3)]),
        ("claude", claude),
        ("best", claude),
        ("default", [("openai", 0, 1), ("azure_openai", 0, 3)]),
    ]
    assert {r.strategy for r in seed.routes} == {"least_in_flight"}
    assert seed.settings == {"total_timeout": 90, "max_attempts": 3}
    card = next(m.card for m in seed.models if m.provider_name == "anthropic")
    assert card is not None
    assert parse(render(seed), {}, catalog()) == seed, "it is a seed like any other"
    assert [note.split(":")[0] for note in found.notes] == [
        "model_list[0].rpm",
        "model_list[2].access_groups",
        "model_list[2].model_info.mode",
        "model_list[5]",
        "litellm_settings.fallbacks.gpt-4o",
        "litellm_settings.drop_params",
        "general_settings.master_key",
        "general_settings.database_url",
        "router_settings.redis_host",
        "environment_variables",
    ]
    assert "sk-1234" not in "".join(found.notes)


@pytest.mark.parametrize(
    ("model", "ours"),
    [
        ("bedrock/us.amazon.nova-2-lite-v1:0", "us.amazon.nova-2-lite-v1:0"),
        ("bedrock/converse/meta.llama3-3-70b-instruct-v1:0", "meta.llama3-3-70b-instruct-v1:0"),
        ("bedrock/invoke/anthropic.claude-x", "anthropic.claude-x"),
        ("bedrock_converse/us.anthropic.claude-x", "us.anthropic.claude-x"),
    ],
)
def test_bedrocks_models_are_named_as_bedrock_names_them(model: str, ours: str) -> None:
    params = "aws_region_name: us-east-1, aws_access_key_id: AKIA, aws_secret_access_key: hidden-0123456789"
    text = f'model_list: [{{model_name: x, litellm_params: {{model: "{model}", {params}}}}}]'
    seed = from_litellm(text, {}, catalog()).seed
    assert [(one.provider_name, one.model_id) for one in seed.models] == [("bedrock", ours)]
    assert seed.providers[0].settings["region"] == "us-east-1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "not valid YAML (line"),
        ("- 1", "must be a mapping"),
        ("model_list: 7", "model_list: is missing or empty"),
        ("model_list: [7]", "model_list[0].litellm_params: is missing"),
        ("model_list: [{litellm_params: {model: gpt-4o}}]", "model_list[0]: model_name"),
        ("model_list: [{model_name: x, litellm_params: {model: nobody/x}}]", "no channel for 'nobody'"),
        (
            "model_list: [{model_name: x, litellm_params: {model: gpt, api_key: os.environ/NO}}]",
            "variable NO is not set",
        ),
        ("model_list: [{model_name: x, litellm_params: {model: gpt, weight: heavy}}]", "weight and order"),
        ("model_list: [{model_name: x, litellm_params: {model: gpt, input_cost_per_token: much}}]", "must be a number"),
        ("model_list: [{model_name: x, litellm_params: {model: azure/x}}]", "model_list[0].litellm_params: "),
        (
            "{model_list: [{model_name: x, litellm_params: {model: gpt}}], router_settings: {model_group_alias: {a: b}}}",
            "model_group_alias.a: there is no model 'b'",
        ),
        *(
            ("{model_list: [{model_name: x, litellm_params: {model: gpt}}], " + section + "}", told)
            for section, told in (
                ("router_settings: 7", "router_settings: must be a mapping"),
                ("litellm_settings: {num_retries: many}", "litellm_settings.num_retries: must be a whole number"),
                ("litellm_settings: {request_timeout: 0}", "litellm_settings.request_timeout: must be a number"),
                ("router_settings: {fallbacks: [x]}", "router_settings.fallbacks: must be a list of mappings"),
            )
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(NotUnderstood) as raised:
        from_litellm(text, {}, catalog())
    assert told in str(raised.value)


_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("model", "api_key", "api_base", "weight", "order", "input_cost_per_token", "custom_llm_provider"), _VALUE
        ),
    ),
    _VALUE,
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("model_group_alias", "fallbacks", "num_retries", "timeout", "routing_strategy"), _VALUE
        ),
    ),
)
def test_any_document_is_answered(params: dict[str, object], info: object, router: object) -> None:
    import yaml

    entry = {"model_name": "x", "litellm_params": {"model": "gpt", **params}, "model_info": info}
    text = yaml.safe_dump(
        {"model_list": [entry], "router_settings": router, "litellm_settings": router}, allow_unicode=False
    )
    try:
        found = from_litellm(text, {}, catalog())
    except NotUnderstood:
        return
    assert found.seed.models
