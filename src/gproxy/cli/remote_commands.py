"""The commands that speak to a running gateway: thin clients of its admin API. What they do is imported when they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from gproxy.cli.remote import Gateway

DEFAULT_URL: Final = "http://127.0.0.1:8787"

Url = Annotated[str, typer.Option("--url", envvar="GPROXY_URL", help="The gateway's address.")]
Key = Annotated[
    str, typer.Option("--api-key", envvar="GPROXY_API_KEY", show_default=False, help="An administrator's API key.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Only = Annotated[list[str] | None, typer.Option("--only", metavar="NAME=VALUE", help="Only rows with this value.")]
Search = Annotated[str | None, typer.Option("--search", help="Only rows with this in a name or label.")]
Most = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many rows.")]
Ref = Annotated[str, typer.Argument(metavar="ID", help="The id, or the name where names are unique.")]
Refs = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, or names where names are unique.")]
Words = Annotated[
    list[str], typer.Argument(metavar="NAME=VALUE...", help="Fields; a value that is JSON is taken as such.")
]

RESOURCES: Final = {
    "users": "Users and administrators.",
    "keys": "API keys of users.",
    "providers": "Upstreams.",
    "credentials": "Secrets of upstreams.",
    "models": "Models of upstreams.",
    "aliases": "Other names for models.",
    "routes": "Public names with several members.",
    "permissions": "Who may call what.",
    "rate_limits": "Requests and tokens per time.",
    "quotas": "Budgets.",
}


def _gateway(url: str, api_key: str) -> Gateway:
    from gproxy.cli.remote import Gateway

    return Gateway(url, api_key)


def add_commands(app: typer.Typer, group: Callable[[str], typer.Typer]) -> None:
    """Add all of them."""
    for resource, text in RESOURCES.items():
        home = group(text)
        _add_resource(home, resource)
        app.add_typer(home, name=resource.replace("_", "-"))
    usage = group("The ledger.")
    usage.command("list")(_usage_list)
    usage.command("summary")(_usage_summary)
    app.add_typer(usage, name="usage")
    app.command("export")(_export)
    app.command("import")(_import)
    app.command("explain")(_explain)


def _add_resource(home: typer.Typer, resource: str) -> None:
    def list_rows(
        only: Only = None,
        search: Search = None,
        limit: Most = None,
        as_json: Json = False,
        url: Url = DEFAULT_URL,
        api_key: Key = "",
    ) -> None:
        from gproxy.cli import configured

        configured.list_rows(
            _gateway(url, api_key), resource, only=only or (), search=search, limit=limit, as_json=as_json
        )

    def get(ref: Ref, as_json: Json = False, url: Url = DEFAULT_URL, api_key: Key = "") -> None:
        from gproxy.cli import configured

        configured.get(_gateway(url, api_key), resource, ref, as_json=as_json)

    def create(words: Words, as_json: Json = False, url: Url = DEFAULT_URL, api_key: Key = "") -> None:
        from gproxy.cli import configured

        configured.create(_gateway(url, api_key), resource, words, as_json=as_json)

    def change(ref: Ref, words: Words, as_json: Json = False, url: Url = DEFAULT_URL, api_key: Key = "") -> None:
        from gproxy.cli import configured

        configured.change(_gateway(url, api_key), resource, ref, words, as_json=as_json)

    def delete(refs: Refs, url: Url = DEFAULT_URL, api_key: Key = "") -> None:
        from gproxy.cli import configured

        configured.delete(_gateway(url, api_key), resource, refs)

    home.command("list", help="Print the rows.")(list_rows)
    home.command("get", help="Print one row.")(get)
    home.command("create", help="Add a row. A secret that is made is shown this once.")(create)
    home.command("set", help="Change fields of a row; what is not named stays.")(change)
    home.command("delete", help="Remove rows.")(delete)
    if resource == "keys":
        home.command("rotate")(_rotate)
    if resource == "models":
        home.command("pull")(_pull)


def _rotate(
    ref: Ref,
    overlap: Annotated[int, typer.Option("--overlap", min=0, help="Seconds for which the old key works on.")] = 0,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    api_key: Key = "",
) -> None:
    """Replace a key; the new one is shown this once."""
    from gproxy.cli import configured

    configured.rotate(_gateway(url, api_key), ref, overlap, as_json=as_json)


def _pull(
    provider: Annotated[str, typer.Argument(help="The provider's name.")],
    add: Annotated[bool, typer.Option("--add", help="Add the models that are missing.")] = False,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    api_key: Key = "",
) -> None:
    """Ask a provider which models it has."""
    from gproxy.cli import configured

    configured.pull(_gateway(url, api_key), provider, add=add, as_json=as_json)


def _usage_list(
    only: Only = None, limit: Most = 50, as_json: Json = False, url: Url = DEFAULT_URL, api_key: Key = ""
) -> None:
    """Print attempts, newest first."""
    from gproxy.cli import configured

    configured.list_rows(_gateway(url, api_key), "usages", only=only or (), search=None, limit=limit, as_json=as_json)


def _usage_summary(only: Only = None, as_json: Json = False, url: Url = DEFAULT_URL, api_key: Key = "") -> None:
    """Print sums; `--only` takes since, until, user_id, provider_name, model_served, or one other column alone."""
    from gproxy.cli import configured

    configured.usage_summary(_gateway(url, api_key), only or (), as_json=as_json)


def _export(
    form: Annotated[str, typer.Option("--format", help="toml or json.")] = "toml",
    with_secrets: Annotated[
        bool, typer.Option("--with-secrets", help="Secrets in clear; leaves an audit row.")
    ] = False,
    output: Annotated[str | None, typer.Option("-o", "--output", help="A file instead of standard output.")] = None,
    url: Url = DEFAULT_URL,
    api_key: Key = "",
) -> None:
    """Write down the configuration."""
    from gproxy.cli import transfer

    transfer.export(_gateway(url, api_key), form=form, with_secrets=with_secrets, output=output)


def _import(
    file: Annotated[str, typer.Argument(help="The document; - for standard input. Ends in .json: JSON, else TOML.")],
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Whose file it is: litellm (config.yaml), one-api or new-api (SQLite database), gproxy-v1 (seed).",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would change, and change nothing.")] = False,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    api_key: Key = "",
) -> None:
    """Bring a document into the configuration: all of it or nothing; nothing is deleted."""
    from gproxy.cli import transfer

    transfer.bring_in(_gateway(url, api_key), source=source, file=file, dry_run=dry_run, as_json=as_json)


def _explain(
    request: Annotated[
        str | None, typer.Option("--request", metavar="ID", help="A past request, by its x-request-id.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", help="Who would ask.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="As the client would send it.")] = None,
    provider: Annotated[str | None, typer.Option("--provider", help="For a scoped path.")] = None,
    dialect: Annotated[str | None, typer.Option("--dialect", help="openai_chat, anthropic_messages, ...")] = None,
    operation: Annotated[str | None, typer.Option("--operation", help="generate, embed, ...")] = None,
    input_tokens: Annotated[int | None, typer.Option("--input-tokens", min=0)] = None,
    max_output_tokens: Annotated[int | None, typer.Option("--max-output-tokens", min=0)] = None,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    api_key: Key = "",
) -> None:
    """Tell what would happen to a request (exit 1 when it would be refused), or what happened to a past one."""
    from gproxy.cli import configured
    from gproxy.cli.terminal import Complaint

    question = {
        "user": user, "model": model, "provider": provider, "dialect": dialect, "operation": operation,
        "input_tokens": input_tokens, "max_output_tokens": max_output_tokens,
    }  # fmt: skip
    if request is not None:
        if any(value is not None for value in question.values()):
            raise Complaint("--request: a past request is named by its id alone", code=2)
        configured.explain_past(_gateway(url, api_key), request, as_json=as_json)
        return
    if user is None or model is None:
        raise Complaint("say who would ask and for what (--user, --model), or which past request (--request)", code=2)
    raise typer.Exit(configured.explain(_gateway(url, api_key), question, as_json=as_json))
