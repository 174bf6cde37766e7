"""``python -m tools.bench.scale.flames``: flame graphs of one worker and its broker under load.

It calls perf (Debian: linux-perf), the library of async-profiler (Maven Central:
tools.profiler:async-profiler, the library is in the jar) through the JDK's jcmd, and inferno
(``cargo install inferno``).
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.bench.broker import MeasuredBroker, own_broker
from tools.bench.build import choose_build
from tools.bench.errors import BenchError
from tools.bench.measuring import System, run_load, say
from tools.bench.options import at_least_one, positive
from tools.bench.scale.comparing import Variant, running
from tools.bench.scale.measuring import Effort, warm_up
from tools.dev.errors import BrokerError

TOOLS = ("perf", "jcmd", "inferno-collapse-perf", "inferno-flamegraph")
SAMPLES_PER_SECOND = 499
STACK_BYTES = 32_768
LEAST_PERCENT = "0.4"
"""Narrower frames are left out of the pictures."""

LOOP = "uv_run;"
"""Frame of the event loop: those before it are the same in every stack."""


def main() -> int:
    """Profile what the command line asks for; return the exit code."""
    given = _parser().parse_args()
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise BenchError(f"{', '.join(missing)}: not found")
    for path in (given.async_profiler, given.into):
        if not path.exists():
            raise BenchError(f"{path} is not there")
    choose_build(pure=False)
    with tempfile.TemporaryDirectory(prefix="payments-profile-") as folder:
        effort = Effort(given.seconds, given.concurrency, Path(folder))
        with own_broker() as broker, running(broker, Variant(given.partitions), effort) as system:
            warm_up(broker, system, effort.concurrency, given.partitions)
            worker = profile_worker(broker, system, effort)
            jvm = profile_broker(broker, system, effort, given.async_profiler)
    for name, stacks in (("worker", worker), ("broker", jvm)):
        title = f"{name}, {given.partitions} partitions, {given.concurrency} payments at once"
        file = given.into / f"flames-{name}-{given.partitions}.svg"
        file.write_text(picture(stacks, title))
        say(str(file))
    return 0


def profile_worker(broker: MeasuredBroker, system: System, effort: Effort) -> str:
    """Return the worker's stacks under load, one a line, with how often each was seen."""
    data = effort.folder / "perf.data"
    graph = f"dwarf,{STACK_BYTES}"
    command = ["perf", "record", "-q", "-F", str(SAMPLES_PER_SECOND), "--call-graph", graph]
    command += ["-p", str(system.pid), "-o", str(data), "--", "sleep", str(effort.seconds)]
    with subprocess.Popen(command) as recording:
        run_load(broker, system, effort.seconds, effort.concurrency)
    if recording.returncode:
        raise BenchError(f"perf ended with {recording.returncode}")
    script = _output(["perf", "script", "-i", str(data)])
    collapsed = _output(["inferno-collapse-perf"], script)
    return "\n".join(line.split(LOOP, 1)[-1] for line in collapsed.splitlines())


def profile_broker(broker: MeasuredBroker, system: System, effort: Effort, library: Path) -> str:
    """Return the broker's stacks under load, in the same form."""
    stacks = effort.folder / "broker.collapsed"
    agent = ["jcmd", str(broker.pid), "JVMTI.agent_load", str(library.resolve())]
    _output([*agent, '"start,event=itimer,interval=1ms"'])
    run_load(broker, system, effort.seconds, effort.concurrency)
    _output([*agent, f'"stop,file={stacks},collapsed"'])
    if not stacks.exists():
        raise BenchError(f"{library} wrote nothing: is it async-profiler's library?")
    return stacks.read_text()


def picture(stacks: str, title: str) -> str:
    """Return a flame graph as SVG."""
    options = ["--title", title, "--minwidth", LEAST_PERCENT, "--hash"]
    return _output(["inferno-flamegraph", *options], stacks)


def _output(command: Sequence[str], given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{command[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.scale.flames", description=__doc__)
    parser.add_argument("--partitions", type=at_least_one, default=64)
    parser.add_argument("--concurrency", type=at_least_one, default=256)
    parser.add_argument("--seconds", type=positive, default=10.0)
    parser.add_argument(
        "--async-profiler", type=Path, required=True, metavar="LIBRARY", help="libasyncProfiler.so"
    )
    parser.add_argument("--into", type=Path, default=Path(), metavar="FOLDER")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchError, BrokerError) as error:
        sys.exit(f"Error: {error}")
