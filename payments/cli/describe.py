"""``payments asyncapi`` and ``payments schema``: the topics and records, for machines to read."""

import json

import click

from payments.cli.options import JSON
from payments.cli.output import is_utf8, json_text, show
from payments.cli.user_errors import load_settings

KINDS = [
    "command",
    "result",
    "entry",
    "account-command",
    "account-result",
    "account-id",
    "payment-id",
    "currency",
    "event-headers",
    "dead-letter-headers",
]


@click.command()
@JSON
def asyncapi(*, as_json: bool) -> None:
    """Print the topics as an AsyncAPI 3 document, in YAML or JSON.

    It describes the installation of the present settings: names of topics, partitions, brokers.

    \b
    Examples:
      payments asyncapi > asyncapi.yaml
      payments asyncapi --json | jq .channels
    """
    import yaml

    from payments.schemas.asyncapi import document

    text = json_text(document(load_settings()), indent=2)
    if as_json:
        show(text)
        return
    # Through JSON: YAML would write a repeated object as an anchor.
    made = json.loads(text)
    show(yaml.safe_dump(made, sort_keys=False, allow_unicode=is_utf8(), width=100), newline=False)


@click.command()
@click.argument("kind", type=click.Choice(KINDS), required=False, metavar="KIND")
def schema(kind: str | None) -> None:
    """Print the JSON Schema (2020-12) of a kind of record; without a kind, of each, by its name.

    KIND is command, result, entry, account-command, account-result, account-id, payment-id,
    currency, event-headers or dead-letter-headers.

    \b
    Examples:
      payments schema command > command.schema.json
      payments schema currency | jq '."x-minor-units".JPY'   the decimals of a currency
    """
    from payments.schemas.json_schema import SCHEMAS, standalone

    made = standalone(kind) if kind else {name: standalone(name) for name in SCHEMAS}
    show(json_text(made, indent=2))
