"""``make compiled``: what users install, built from this checkout into ``.compiled``.

``--check`` only tells whether this machine can build it. The folder holds the package with its
compiled modules, as the wheel does. A stamp in it says what it was built from; with another source
it is out of date, and nobody takes it.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".compiled"
PACKAGES = ("exactstage", "payments")
STAMP = FOLDER / "stamp"
COMPILED = {"PAYMENTS_COMPILED": "1"}
"""Asks setup.py for the compiled modules."""


class NoCompilerError(RuntimeError):
    """What C needs is not there; the message says what."""


def main(arguments: list[str]) -> int:
    """Build, unless what is there is current; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.dev.compiled", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only tell whether it can be built")
    given = parser.parse_args(arguments)
    if not given.check and is_current():
        print(f"{FOLDER.name} is current")
        return 0
    try:
        compiler = c_compiler()
    except NoCompilerError as error:
        print(f"Not compiled: {error}", file=sys.stderr)
        return 1
    if given.check:
        return 0
    print(f"Compiling into {FOLDER.name} with mypyc and {compiler} (about a minute)", flush=True)
    return build()


def is_current() -> bool:
    """Tell whether the folder was built from the sources as they are now."""
    return STAMP.exists() and STAMP.read_text() == digest(ROOT)


def environment() -> dict[str, str]:
    """Return the variables with which Python finds the compiled package, and not the checkout's."""
    # The folder in which ``python -m`` is called would come first without the safe path.
    return {"PYTHONPATH": f"{FOLDER}{os.pathsep}{ROOT}", "PYTHONSAFEPATH": "1"}


def c_compiler() -> str:
    """Return the C compiler that would be called; raises ``NoCompilerError``."""
    named = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    compiler = str(named).split()[0]
    if shutil.which(compiler) is None:
        raise NoCompilerError(f"there is no C compiler {compiler} (Debian: gcc and libc6-dev)")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        raise NoCompilerError(f"there is no {header} (Debian: python3-dev)")
    return compiler


def build() -> int:
    """Build the folder anew; return the exit code of pip."""
    # What an earlier build left there would go into the wheel, also when its source is gone.
    for folder in (FOLDER, ROOT / "build"):
        shutil.rmtree(folder, ignore_errors=True)
    built_from = digest(ROOT)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--target", str(FOLDER), str(ROOT)),
        ],
        env=os.environ | COMPILED,
        check=False,
    )
    if done.returncode == 0:
        STAMP.write_text(built_from)
    return done.returncode


def digest(root: Path) -> str:
    """Return one sum of all that the build depends on; this Python is part of it."""
    found = hashlib.sha256(f"{sys.implementation.cache_tag} {sysconfig.get_platform()}".encode())
    given = [root / "setup.py", root / "pyproject.toml", root / "requirements" / "build.txt"]
    sources = [file for package in PACKAGES for file in sorted((root / package).rglob("*.py"))]
    for file in (*given, *sources):
        content = file.read_bytes()
        found.update(f"{file.relative_to(root)} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
