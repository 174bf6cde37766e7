"""A pytest plugin: a failing example is enough; making it small costs minutes and kills no more."""

from hypothesis import Phase, settings


def pytest_configure() -> None:
    """Leave out the phases that come after a failure, and the database of earlier ones."""
    settings.register_profile(
        "no-shrinking", phases=(Phase.explicit, Phase.generate), database=None
    )
    settings.load_profile("no-shrinking")
