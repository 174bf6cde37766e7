"""The scene: which node a fault has to strike is asked until a broker knows."""

import random
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from payments.settings import Settings
from tools.chaos import scene as module
from tools.chaos.errors import ChaosError
from tools.chaos.fleet import Fleet
from tools.chaos.scene import Scene

LOADING = KafkaException(KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS))
NODE: Any = object()


def scene(monkeypatch: pytest.MonkeyPatch, answers: list[int | Exception]) -> Scene:
    """Return a scene whose group is described by these answers, the last one again and again."""

    def describe(_: Scene) -> Any:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(coordinator=SimpleNamespace(id=answer))

    monkeypatch.setattr(Scene, "_describe", describe)
    return Scene(Settings(), Fleet([]), {2: NODE}, random.Random(1))


async def test_a_coordinator_that_is_still_loading_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await scene(monkeypatch, [LOADING, -1, 2]).coordinator() is NODE


async def test_a_coordinator_that_nobody_names_ends_the_part_with_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "NODE_LIMIT_SECONDS", 0.05)
    with pytest.raises(ChaosError, match="COORDINATOR_LOAD_IN_PROGRESS"):
        await scene(monkeypatch, [LOADING]).coordinator()
