"""What all tests share: the broker fixtures, and an end in order when the run is told to stop."""

import shutil
import signal

import pytest

from exactstage.outage import OUTAGE
from payments.process.build import is_compiled

pytest_plugins = ["tests.broker_fixture", "tests.distribution", "tests.hanging"]


def pytest_configure() -> None:
    """Let SIGTERM end the run like Ctrl-C, so that the broker of the tests is stopped too."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # What a shell starts in the background ignores SIGINT, with which xdist interrupts its workers.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a broker, so that ``-m "not broker"`` leaves them out."""
    for item in items:
        if "broker" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.broker)


@pytest.fixture(autouse=True)
def nothing_said_before() -> None:
    """Let what a test logs not depend on what another one has logged just before it."""
    OUTAGE.forget()


@pytest.fixture(scope="session")
def pure_python() -> None:
    """Skip where the package is compiled: its modules call each other past what a test replaces."""
    if is_compiled():
        pytest.skip("replaces a part of a compiled module")


@pytest.fixture(scope="session")
def kcat() -> str:
    """Return the path of kcat; skip where it is not installed."""
    path = shutil.which("kcat")
    if path is None:
        pytest.skip("kcat is not installed (apt-get install kcat)")
    return path
