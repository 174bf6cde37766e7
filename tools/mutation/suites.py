"""The suites that a fault is tried on: what each runs, and which source it can see at all."""

from typing import NamedTuple


class Suite(NamedTuple):
    """Tests that run together."""

    name: str
    arguments: tuple[str, ...]
    """What pytest is given."""

    covers: tuple[str, ...]
    """Beginnings of the paths that these tests run; faults elsewhere are not tried on them."""

    without: tuple[str, ...] = ()
    """Beginnings of paths within ``covers`` that they do not run."""

    is_usual: bool = True
    """Whether it runs unless it is asked for by name."""

    limit_seconds: float = 240.0
    """A run that takes longer hangs: the fault was noticed."""

    def sees(self, file: str) -> bool:
        """Return whether the suite can notice a fault in ``file``."""
        return file.startswith(self.covers) and not file.startswith(self.without or ("\0",))


_PURE = ("payments/domain/", "payments/records/", "payments/stages/expiry.py")
_ALL = ("exactstage/", "payments/")
_KAFKA = ("exactstage/kafka/",)
_VERIFY = ("payments/verify/",)
_NO_BROKER = ("-m", "not broker")


def _engine_tests(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/engine/test_{name}.py" for name in names)


_CLIENT = _engine_tests(
    "advice",
    "appender",
    "batches",
    "client_certificates",
    "connection",
    "diagnosis",
    "fetch_sessions",
    "heads",
    "kafka_errors",
    "kafka_requests",
    "throttling",
    "wire",
)
_QUICK = _engine_tests(
    "journal",
    "journal_records",
    "senders",
    "timers",
    "restoring",
    "takeover",
    "processing",
    "progress",
    "ranges",
    "reading",
    "broken_assumptions",
)

SUITES = {
    suite.name: suite
    for suite in (
        # The shape of the code is checked by the source's text: that would notice any fault.
        Suite(
            "domain",
            (
                "tests/domain",
                "tests/records",
                "tests/test_expiry.py",
                "--ignore=tests/domain/test_shape.py",
            ),
            _PURE,
        ),
        Suite("client", (*_CLIENT, *_NO_BROKER), _KAFKA),
        Suite("journal", (*_QUICK, *_NO_BROKER), ("exactstage/",), without=_KAFKA),
        Suite(
            "engine",
            (
                "tests/engine",
                *_NO_BROKER,
                *(f"--ignore={file}" for file in (*_CLIENT, *_QUICK)),
            ),
            ("exactstage/",),
        ),
        Suite(
            "verify",
            (
                "tests/verify/test_proved_directly.py",
                "tests/verify",
                *_NO_BROKER,
                "--ignore=tests/verify/test_command.py",
            ),
            _VERIFY,
        ),
        Suite("agents", ("tests/agents", *_NO_BROKER), _ALL, without=(*_KAFKA, *_VERIFY)),
        Suite("simulator", ("tests/simulator/test_runs.py",), _ALL, without=_KAFKA),
        Suite("broker", ("tests/broker",), _ALL, is_usual=False, limit_seconds=900.0),
    )
}
