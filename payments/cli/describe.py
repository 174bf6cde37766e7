"""``payments asyncapi`` and ``payments schema``: the topics and records, for machines to read."""

import json

import click

from payments.cli.options import JSON
from payments.user_errors import load_settings

KINDS = [
    "command",
    "result",
    "entry",
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
    """  # noqa: D301 - see root.py
    import yaml

    from payments.schemas.asyncapi import document

    text = json.dumps(document(load_settings()), indent=2, ensure_ascii=False)
    if as_json:
        click.echo(text)
        return
    # From JSON again: YAML would write what occurs twice as an anchor.
    made = json.loads(text)
    click.echo(yaml.safe_dump(made, sort_keys=False, allow_unicode=True, width=100), nl=False)


@click.command()
@click.argument("kind", type=click.Choice(KINDS), required=False, metavar="KIND")
def schema(kind: str | None) -> None:
    """Print the JSON Schema (2020-12) of a kind of record; without a kind, of each, by its name.

    KIND is command, result, entry, payment-id, currency, event-headers or dead-letter-headers.

    \b
    Examples:
      payments schema command > command.schema.json
      payments schema currency | jq '."x-minor-units".JPY'   the decimals of a currency
    """  # noqa: D301 - see root.py
    from payments.schemas.json_schema import SCHEMAS, standalone

    made = standalone(kind) if kind else {name: standalone(name) for name in SCHEMAS}
    click.echo(json.dumps(made, indent=2, ensure_ascii=False))
