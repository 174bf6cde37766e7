"""Topics and users as resources of Strimzi, for clusters that an operator of Kubernetes keeps.

The topics are those of ``topics.yaml``, the users' rights those of ``payments.doctor.rights``. The
forms are those of ``kafka.strimzi.io/v1beta2`` (Strimzi's "Custom Resource API Reference").
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args

from payments.doctor.rights import Role, Rule, rules
from payments.settings import Settings
from payments.topics.file import Topic, TopicsFileError

Authentication = Literal["scram-sha-512", "tls"]
Resource = dict[str, Any]

ROLES: tuple[Role, ...] = get_args(Role)

_API = "kafka.strimzi.io/v1beta2"
_KINDS = {"transactional-id": "transactionalId"}
_MAX_NAME = 253
_UNFIT = re.compile(r"[^a-z0-9.-]+")


def resource_name(name: str) -> str:
    """Return a name as Kubernetes has it (RFC 1123): small letters, digits, ``-`` and ``.``."""
    return _UNFIT.sub("-", name.lower()).strip("-.")[:_MAX_NAME]


def topics(wanted: Iterable[Topic], cluster: str) -> Iterator[Resource]:
    """Yield a ``KafkaTopic`` for each topic; ``TopicsFileError`` where two would have one name."""
    names: dict[str, str] = {}
    for topic in wanted:
        name = resource_name(topic.name)
        if (other := names.setdefault(name, topic.name)) != topic.name:
            message = f"{topic.name} and {other} would both be the resource {name}: rename one"
            raise TopicsFileError(message)
        yield _resource(
            "KafkaTopic",
            name,
            cluster,
            {
                "topicName": topic.name,
                "partitions": topic.partitions,
                "replicas": topic.replication,
                "config": dict(topic.configs),
            },
        )


def users(settings: Settings, cluster: str, authentication: Authentication) -> Iterator[Resource]:
    """Yield a ``KafkaUser`` with the least rights of each role, named for the installation."""
    for role in ROLES:
        acls = [_acl(resource) for resource in _grouped(rules(role, settings))]
        spec = {
            "authentication": {"type": authentication},
            "authorization": {"type": "simple", "acls": acls},
        }
        yield _resource("KafkaUser", f"{resource_name(settings.app_id)}-{role}", cluster, spec)


_Place = tuple[str, str, bool]


def _grouped(found: Iterable[Rule]) -> Iterator[tuple[_Place, list[str]]]:
    """Yield each resource once, with all operations on it."""
    operations: dict[_Place, list[str]] = {}
    for rule in found:
        on = operations.setdefault((rule.resource, rule.name, rule.prefixed), [])
        if rule.operation not in on:
            on.append(rule.operation)
    yield from operations.items()


def _acl(granted: tuple[_Place, list[str]]) -> Resource:
    (kind, name, prefixed), operations = granted
    resource: Resource = {"type": _KINDS.get(kind, kind)}
    if kind != "cluster":
        resource |= {"name": name, "patternType": "prefix" if prefixed else "literal"}
    return {"resource": resource, "operations": operations}


def _resource(kind: str, name: str, cluster: str, spec: Mapping[str, Any]) -> Resource:
    metadata = {"name": name, "labels": {"strimzi.io/cluster": cluster}}
    return {"apiVersion": _API, "kind": kind, "metadata": metadata, "spec": dict(spec)}
