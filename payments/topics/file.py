"""The file ``topics.yaml``: which topics an installation wants, with which configuration.

The package brings one; a file of that name in the present folder, or one that is named, wins.
"""

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from payments.settings import Settings

PACKAGED = Path(__file__).with_name("topics.yaml")
"""The file that is part of this package."""

APP_PLACEHOLDER = "{app}"


class TopicsFileError(Exception):
    """The file cannot be read or is malformed; the message names the place."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One wanted topic with its full name; configurations are in Kafka's own text form."""

    name: str
    partitions: int
    replication: int
    configs: Mapping[str, str]


def _kafka_text(value: object) -> object:
    """Convert a YAML scalar to the text that Kafka stores for it; pydantic refuses the rest."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


ConfigValue = Annotated[str, BeforeValidator(_kafka_text)]
Partitions = Annotated[int, Field(ge=1, le=4096)]
Replication = Annotated[int, Field(ge=1, le=10)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Defaults(_Model):
    partitions: Partitions = 8
    replication: Replication = 1
    configs: dict[str, ConfigValue] = Field(default_factory=dict)


class _Entry(_Model):
    partitions: Partitions | None = None
    replication: Replication | None = None
    configs: dict[str, ConfigValue] = Field(default_factory=dict)


class _File(_Model):
    defaults: _Defaults = _Defaults()
    topics: dict[str, _Entry]


def default_file() -> Path:
    """Return ``topics.yaml`` of the present folder, or that of the package where there is none."""
    local = Path("topics.yaml")
    return local if local.exists() else PACKAGED


def read_topics(path: Path, settings: Settings) -> tuple[Topic, ...]:
    """Return the topics that the file describes for these settings, in the file's order.

    Raises TopicsFileError when the file cannot be read or is malformed.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}; name the file with -f"
        raise TopicsFileError(message) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        message = f"{path} is not a YAML file: {' '.join(str(error).split())}"
        raise TopicsFileError(message) from error
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        message = f"{path}: {_problems(error)}"
        raise TopicsFileError(message) from error
    return tuple(
        _topic(name, entry, file.defaults, settings) for name, entry in file.topics.items()
    )


def apply_command(settings: Settings, own_file: Path | None) -> Callable[[Iterable[str]], str]:
    """Return a function that names, for topics, the command that creates them.

    ``own_file`` describes the topics of a stage of the user's own. A topic that is neither the
    package's nor described there is said to be missing in that file.
    """

    def command(topics: Iterable[str]) -> str:
        names = list(topics)
        packaged = {topic.name for topic in read_topics(PACKAGED, settings)}
        steps = ["payments topics apply"] if packaged.intersection(names) else []
        if own := [name for name in names if name not in packaged]:
            steps.append(_own_command(own_file, own, settings))
        return " and ".join(steps)

    return command


def _own_command(file: Path | None, names: list[str], settings: Settings) -> str:
    if file is None:
        return "payments topics apply --file with the file that describes it"
    command = f"payments topics apply --file {shlex.quote(str(file))}"
    try:
        described = {topic.name for topic in read_topics(file, settings)}
    except TopicsFileError as error:
        return f"{command} (but {error})"
    undescribed = [name for name in names if name not in described]
    return f"{command}, once it describes {', '.join(undescribed)}" if undescribed else command


_COPIES_THAT_SURVIVE_ONE = 3


def _topic(name: str, entry: _Entry, defaults: _Defaults, settings: Settings) -> Topic:
    # A variable that is set wins over the file's default; a topic's own count wins over both.
    given = settings.model_fields_set
    partitions = settings.partitions if "partitions" in given else defaults.partitions
    replication = settings.replication if "replication" in given else defaults.replication
    copies = entry.replication or replication
    # An acknowledged record must be on two brokers wherever there are three: without it the loss of
    # one broker could lose a payment (docs/design.md 4.7).
    safe = {"min.insync.replicas": "2"} if copies >= _COPIES_THAT_SURVIVE_ONE else {}
    return Topic(
        name=full_name(name, settings),
        partitions=entry.partitions or partitions,
        replication=copies,
        configs={**safe, **defaults.configs, **entry.configs},
    )


def full_name(name: str, settings: Settings) -> str:
    """Return the name that a topic of the file has in an installation."""
    if APP_PLACEHOLDER in name:
        return name.replace(APP_PLACEHOLDER, settings.app_id)
    return settings.topic(name)


def _problems(error: ValidationError) -> str:
    parts = [
        f"{' > '.join(str(step) for step in problem['loc']) or 'the file'}: {problem['msg']}"
        for problem in error.errors()
    ]
    return "; ".join(parts)
