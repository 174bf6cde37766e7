"""An operator: runs the command line as the runbook says, and does damage as operators do."""

import asyncio
import json
import sys
from typing import Any, NamedTuple

from payments.settings import Settings
from tools.chaos.errors import ChaosError
from tools.chaos.scene import BETWEEN_SECONDS, Scene
from tools.dev.child_process import environment

LIMIT_SECONDS = 180.0


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """What it printed with ``--json``: one object on each line."""
        return [json.loads(line) for line in self.out.splitlines()]


async def payments(
    settings: Settings, *arguments: str, codes: frozenset[int] = frozenset({0})
) -> Done:
    """Run ``payments``. Raises ``ChaosError`` where it ends with none of ``codes``."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "payments.cli", *arguments),
        env=environment(settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    code = process.returncode or 0
    if code not in codes:
        said = err.decode()[-2000:]
        raise ChaosError(f"payments {' '.join(arguments)} ended with {code}: {said}")
    return Done(code, out.decode(), err.decode())


async def stop_all(scene: Scene) -> None:
    """Stop all workers, and wait until the group has forgotten them (the session timeout)."""
    await scene.fleet.stop()
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            while not (await scene.group()).endswith(" with 0"):  # noqa: ASYNC110 - the broker gives no sign
                await asyncio.sleep(BETWEEN_SECONDS)
    except TimeoutError:
        raise ChaosError(f"the group is {await scene.group()} although all have left") from None
