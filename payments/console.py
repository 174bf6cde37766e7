"""The script ``payments``: runs the command, or names the extra that is not installed.

``pip install payments`` alone is the client library; each part that runs has an extra of its own.
"""

import sys

EXTRAS = {
    "click": "cli",
    "yaml": "cli",
    "faust": "worker",
    "prometheus_client": "worker",
    "anyio": "gateway",
    "httptools": "gateway",
    "starlette": "gateway",
    "swagger_ui_bundle": "gateway",
    "uvicorn": "gateway",
    "uvloop": "worker,gateway",
}
"""The extras of pyproject.toml by which each package that may be absent is installed."""


def main() -> None:
    """Run the command. Exit code 1 and one line when a package of an extra is not installed."""
    try:
        from payments.cli import main as command  # noqa: PLC0415 - click may be absent

        command(prog_name="payments")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        sys.exit(
            f"Error: this command needs the package {package}, which is not installed: "
            f"pip install 'payments[{_extra(package)}]'"
        )


def _extra(package: str) -> str:
    """Return the extra that brings a package: of several the one of the command that was called."""
    extras = EXTRAS[package]
    return next((extra for extra in extras.split(",") if extra in sys.argv[1:]), extras)
