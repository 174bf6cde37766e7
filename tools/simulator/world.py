"""The world of one run: brokers, network, group, clocks, and the machines that workers run on."""

from collections import Counter
from collections.abc import Mapping
from random import Random

from exactstage.errors import FailStop
from exactstage.stage import topics_of

from .brokers import Brokers
from .disk import SimulatedDisk
from .faults import Fault, Faults, Kind
from .group import Group
from .loop import Process, SimulatedLoop
from .network import Network
from .shape import DELIVERY_TIMEOUT_SECONDS, REQUEST_TIMEOUT_SECONDS, Shape
from .trace import Trace
from .worker import EXPECTED_FAILURES, NOTICED, Worker

START_MS = 1_767_225_600_000
"""Where all clocks stand at first: 2026-01-01T00:00:00Z."""

SESSION_TIMEOUT_SECONDS = 10.0
_REBALANCE_TIMEOUT_SECONDS = 15.0
_LONGEST_PAUSE_SECONDS = 40.0
_LONGEST_RESTART_SECONDS = 3.0
_WOKEN_BY_OTHERS = 0.4


class World:
    """Everything that there is, at one moment of simulated time."""

    def __init__(
        self,
        loop: SimulatedLoop,
        seed: str,
        shape: Shape,
        faults: Faults,
        trace: Trace,
        *,
        has_disks: bool = False,
    ) -> None:
        self.loop, self.shape, self.faults, self.trace = loop, shape, faults, trace
        self.findings: list[str] = []
        """What must not happen, and did."""
        self.failures: Counter[str] = Counter()
        """Ends of workers that faults have brought about, by kind."""
        self.may_have_lost = False
        """Whether acknowledged records were lost: then workers may refuse to go on."""
        self.lost_handled = False
        """Whether an input has lost records that were handled: that must be noticed."""
        self.may_wait = False
        """Whether a message between the stages may be gone without a trace: then answers wait."""
        self.has_noticed = False
        """Whether one has refused: the run is over."""
        self.clock_offsets_ms: dict[str, int] = {}
        self.takeovers = 0
        self.machines = {
            f"w{n}": Machine(
                f"w{n}",
                self,
                Random(f"{seed} w{n}"),
                SimulatedDisk(Random(f"{seed} disk {n}"), Random(f"{seed} pressure {n}"))
                if has_disks
                else None,
            )
            for n in range(3)
        }
        self.brokers = Brokers(
            loop,
            Random(f"{seed} brokers"),
            faults,
            trace,
            topics=topics_of(shape.subject.stages()),
            partitions=shape.partitions,
            nodes=shape.nodes,
            fetch_records=shape.fetch_records,
            clock_ms=lambda: self.clock_ms("brokers"),
        )
        self.network = Network(
            loop,
            Random(f"{seed} network"),
            faults,
            latency_seconds=shape.latency_seconds,
            request_timeout_seconds=REQUEST_TIMEOUT_SECONDS,
        )
        self.group = Group(
            loop,
            Random(f"{seed} group"),
            trace,
            partitions=shape.partitions,
            session_timeout_seconds=SESSION_TIMEOUT_SECONDS,
            rebalance_timeout_seconds=_REBALANCE_TIMEOUT_SECONDS,
        )

    def clock_ms(self, where: str) -> int:
        """Return what the clock of a machine shows."""
        return START_MS + int(self.loop.time() * 1000) + self.clock_offsets_ms.get(where, 0)

    def scale(self, count: int) -> None:
        """Let so many machines run a worker; the others stop theirs in order."""
        for number, machine in enumerate(self.machines.values()):
            machine.turn_on() if number < count else machine.turn_off()

    def heal(self) -> None:
        """End every fault: nothing strikes any more, all clocks are right, all workers run."""
        self.faults.is_over = True
        self.trace.note("heal", "no more faults")
        self.clock_offsets_ms.clear()
        for machine in self.machines.values():
            machine.heal()
        self.scale(self.shape.workers)
        self.group.heal()

    @property
    def workers(self) -> Mapping[str, Worker]:
        """The workers that are alive, by machine."""
        found = {name: machine.worker for name, machine in self.machines.items()}
        return {name: w for name, w in found.items() if w is not None and w.process.is_alive}


class Machine:
    """Where one worker runs; a supervisor starts it again after each end."""

    def __init__(self, name: str, world: World, random: Random, disk: SimulatedDisk | None) -> None:
        self.name = name
        self.disk = disk
        self.worker: Worker | None = None
        self._world = world
        self._random = random
        self._lives = 0
        self._is_on = False
        self._last_step = 0

    def turn_on(self) -> None:
        """Start a worker if none runs."""
        if not self._is_on:
            self._is_on = True
            if self.worker is None:
                self._start()

    def turn_off(self) -> None:
        """Let the worker end in order, and start no other."""
        if self._is_on:
            self._is_on = False
            if self.worker is not None:
                self.worker.stop()

    def restart(self) -> None:
        """Let the worker end in order; the supervisor starts another one."""
        if self.worker is not None:
            self.worker.stop()

    def kill(self) -> None:
        """End the worker where it stands."""
        if self.worker is not None and self.worker.process.is_alive:
            self.worker.process.kill()
            self._ended(self.worker, None)

    def turn_off_for_good(self) -> None:
        """End with the run."""
        self._is_on = False
        if self.worker is not None:
            self.worker.process.kill()

    def pause(self, size: float) -> None:
        """Hold the worker for a time, or until others have done so much."""
        if self.worker is None:
            return
        process, world = self.worker.process, self._world
        process.pause()
        # Most pauses are short, some are longer than the session.
        seconds, text = 0.001 * (_LONGEST_PAUSE_SECONDS / 0.001) ** size, ""
        if (size * 89) % 1 < _WOKEN_BY_OTHERS:
            seconds = _LONGEST_PAUSE_SECONDS
            text = ", or until " + world.network.at_moment((size * 97) % 1, process.go_on)
        world.trace.note("paused", f"{process.name} for {seconds:.3f} s{text}")
        world.loop.in_no_process(world.loop.time() + seconds, process.go_on)

    def heal(self) -> None:
        """Let a paused worker go on."""
        if self.worker is not None:
            self.worker.process.go_on()

    def _start(self) -> None:
        if not self._is_on or self.worker is not None:
            return
        self._lives += 1
        world, shape = self._world, self._world.shape
        process = Process(f"{self.name}.{self._lives}", world.loop)
        self.worker = Worker(
            process,
            brokers=world.brokers,
            network=world.network,
            group=world.group,
            app_id=shape.subject.app_id,
            stages=shape.subject.stages(),
            limits=shape.limits,
            wall_ms=lambda: world.clock_ms(self.name),
            renewal_seconds=shape.renewal_seconds,
            local_delivery=shape.local_delivery,
            drain_timeout_seconds=shape.drain_timeout_seconds,
            delivery_timeout_seconds=DELIVERY_TIMEOUT_SECONDS,
            on_end=self._ended,
            state=None if self.disk is None else self.disk.begin(),
        )
        world.trace.note("started", process.name)
        process.on_fault_step = self._strike
        self._expect_strike()
        self.worker.start()

    def _ended(self, worker: Worker, failure: FailStop | None) -> None:
        world = self._world
        if self.disk is not None:
            self.disk.crash()
        world.takeovers += worker.takeovers
        world.trace.note("ended", f"{worker.process.name}: {failure!r}")
        world.failures[type(failure).__name__] += failure is not None
        if world.may_have_lost and isinstance(failure, NOTICED):
            world.has_noticed = True
        elif failure is not None and not isinstance(failure, EXPECTED_FAILURES):
            cause = "" if failure.__cause__ is None else f" ({failure.__cause__!r})"
            world.findings.append(f"{worker.process.name} ended: {failure!r}{cause}")
        self.worker = None
        when = world.loop.time() + self._random.random() * _LONGEST_RESTART_SECONDS
        world.loop.in_no_process(when, self._start)

    # --- faults at a step ------------------------------------------------------------------------

    def _expect_strike(self) -> None:
        assert self.worker is not None
        process = self.worker.process
        self._next: Fault | None = self._world.faults.next_step(process.name, process.steps)
        process.next_fault_step = float("inf") if self._next is None else self._next.point.number

    def _strike(self) -> None:
        fault, faults = self._next, self._world.faults
        assert fault is not None
        if self.worker is None or faults.is_over:
            return
        faults.note(fault)
        self._world.trace.note("fault", str(fault))
        if fault.kind is Kind.CRASH:
            self.kill()
        else:
            self.pause(fault.size)
            self._expect_strike()
