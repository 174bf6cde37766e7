"""The AsyncAPI document: valid by the official schema, whole, and of this installation."""

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from payments.schemas.asyncapi import document
from payments.settings import Settings
from payments.stages import accounts_stage, payments_stage

OFFICIAL = "@asyncapi/specs@6.11.1"
SASL = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_username": "shop",
    "sasl_password": "top-secret",
}


def made(**values: Any) -> dict[str, Any]:
    # Through JSON, as a user gets it.
    content: dict[str, Any] = json.loads(json.dumps(document(Settings(**values))))
    return content


@pytest.fixture(scope="session")
def official_schema(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the JSON schema of AsyncAPI 3.0.0; skip where npm can't give it."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: it has the official schema of AsyncAPI")
    folder = tmp_path_factory.mktemp("asyncapi")
    command = ["npm", "pack", "--silent", "--prefer-offline", OFFICIAL]
    packed = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=250
    )
    if packed.returncode:
        pytest.skip(f"npm can't get {OFFICIAL}: {packed.stderr.strip()[:200]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        file = archive.extractfile("package/schemas/3.0.0-without-$id.json")
        assert file is not None
        return json.load(file)


@pytest.mark.parametrize("values", [{}, {"brokers": "a:9092,b:9092", **SASL}])
def test_the_document_is_valid_by_the_official_schema(
    official_schema: Any, values: dict[str, Any]
) -> None:
    validator = jsonschema_rs.validator_for(official_schema)
    validator.validate(made(**values))
    broken = made(**values)
    del broken["channels"]["results"]["messages"]["result"]["$ref"]
    broken["operations"]["handleCommand"]["action"] = "listen"
    assert not validator.is_valid(broken)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_reference_leads_somewhere() -> None:
    whole = made()
    found = set(references(whole))
    assert len(found) > 15
    for reference in found:
        at: Any = whole
        for step in reference.removeprefix("#/").split("/"):
            at = at[step]
        assert isinstance(at, dict)


@pytest.mark.parametrize("name", ["command", "result"])
def test_the_examples_are_valid(name: str) -> None:
    whole = made()
    message = whole["components"]["messages"][name]
    schema = {**message["payload"], "components": whole["components"]}
    assert len(message["examples"]) >= 2
    for example in message["examples"]:
        jsonschema_rs.Draft202012Validator(schema).validate(example["payload"])


def test_every_public_topic_of_the_stages_is_a_channel_with_the_installations_name() -> None:
    settings = Settings(topic_prefix="shop.", partitions=3, replication=2)
    stages = payments_stage(settings), accounts_stage(settings)
    public = {
        topic
        for stage in stages
        for topic in (*stage.public_inputs, *stage.outputs, stage.dead_letters)
    }
    channels = made(topic_prefix="shop.", partitions=3, replication=2)["channels"].values()
    assert {channel["address"] for channel in channels} == public
    for channel in channels:
        binding = channel["bindings"]["kafka"]
        assert (binding["partitions"], binding["replicas"]) == (3, 2)


def test_the_servers_are_the_brokers_and_no_secret_is_shown() -> None:
    whole = made(brokers="a:9092, b:9092", **SASL)
    assert whole["servers"] == {
        name: {
            "host": host,
            "protocol": "kafka-secure",
            "security": [{"type": "scramSha512"}],
        }
        for name, host in [("broker1", "a:9092"), ("broker2", "b:9092")]
    }
    assert "top-secret" not in json.dumps(whole)
