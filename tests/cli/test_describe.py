"""``payments schema`` and ``payments asyncapi``: documents on standard output and nothing else."""

import json

import yaml

from payments.cli.describe import KINDS
from payments.schemas.json_schema import SCHEMAS, standalone

from .conftest import run


def test_each_schema_is_printed_by_its_name_and_all_without_one() -> None:
    assert list(SCHEMAS) == KINDS
    for kind in KINDS:
        assert json.loads(run("schema", kind).stdout) == standalone(kind)
    assert json.loads(run("schema").stdout) == {kind: standalone(kind) for kind in KINDS}


def test_an_unknown_schema_is_a_usage_error() -> None:
    failed = run("schema", "invoice")
    assert (failed.exit_code, failed.stdout) == (2, "")
    assert "'command'" in failed.stderr


def test_the_asyncapi_document_is_the_same_in_yaml_and_json_and_follows_the_settings() -> None:
    as_yaml = run("asyncapi", PAYMENTS_TOPIC_PREFIX="shop.")
    as_json = run("asyncapi", "--json", PAYMENTS_TOPIC_PREFIX="shop.")
    assert (as_yaml.exit_code, as_yaml.stderr) == (0, "")
    assert yaml.safe_load(as_yaml.stdout) == json.loads(as_json.stdout)
    channels = json.loads(as_json.stdout)["channels"]
    assert channels["commands"]["address"] == "shop.payments.commands"
