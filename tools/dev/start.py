"""``make run`` from its first moment on: Ctrl-C while Python still loads it shows no traceback."""

import sys

INTERRUPTED = 130


def main() -> int:
    """Load the program and run it; return the exit code."""
    try:
        # Here, since it takes a second.
        from tools.dev.run import main as run  # noqa: PLC0415
    except KeyboardInterrupt:
        return INTERRUPTED
    return run()


if __name__ == "__main__":
    sys.exit(main())
