"""The jars of a Kafka broker, fetched once per version by Maven, and the Java that runs them."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from tools.dev.errors import BrokerError

DEFINITION = Path(__file__).parent / "kafka" / "pom.xml"
JAVA_MAJOR = 17
ALTERNATIVES = "or start Docker, or set PAYMENTS_BROKERS to a broker of yours"


def java() -> str:
    """Return the Java command; raise BrokerError when it is missing or older than 17."""
    home = os.environ.get("JAVA_HOME")
    command = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if command is None:
        message = f"Java is not installed: install Java {JAVA_MAJOR} or later, {ALTERNATIVES}"
        raise BrokerError(message)
    try:
        answer = subprocess.run(
            [command, "-version"], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError) as error:
        message = f"{command} does not run ({error}): install Java {JAVA_MAJOR}, {ALTERNATIVES}"
        raise BrokerError(message) from error
    found = re.search(r'version "(\d+)', answer.stderr + answer.stdout)
    if found is None or int(found[1]) < JAVA_MAJOR:
        version = (answer.stderr or answer.stdout).partition("\n")[0]
        message = f"{command} is {version}: Java {JAVA_MAJOR} or later is needed, {ALTERNATIVES}"
        raise BrokerError(message)
    return command


def broker_jars(version: str, folder: Path) -> Path:
    """Return the folder with the jars of one Kafka version, fetching them when they are not there.

    They are collected beside it and renamed into place, so a folder that exists is complete, also
    when the fetch was interrupted or two programs fetch at once.
    """
    libs = folder / "libs"
    if libs.is_dir():
        return libs
    maven = shutil.which("mvn")
    if maven is None:
        message = f"Maven is not installed (it fetches Kafka): install Maven 3, {ALTERNATIVES}"
        raise BrokerError(message)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"Fetching Kafka {version} with Maven (about 130 MB, only the first time)", flush=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="fetch-") as partial:
        collected = Path(partial) / "libs"
        _collect([maven, *_arguments(version, collected)])
        if not libs.is_dir():
            collected.rename(libs)
    return libs


def _arguments(version: str, target: Path) -> list[str]:
    # Kafka 3 loads classes of Log4j 1 by name, Kafka 4 those of Log4j 2.
    logging = "reload4j" if version.startswith("3.") else "log4j2"
    return [
        "--batch-mode",
        f"--file={DEFINITION}",
        f"--activate-profiles={logging}",
        f"-Dkafka.version={version}",
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
        f"-DoutputDirectory={target}",
    ]


def _collect(command: list[str]) -> None:
    tail: deque[str] = deque(maxlen=15)
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    ) as maven:
        if maven.stdout is not None:
            _show_progress(maven.stdout, tail)
    if maven.returncode != 0:
        message = "Maven could not fetch Kafka:\n" + "".join(tail)
        raise BrokerError(message)


def _show_progress(output: Iterable[str], tail: deque[str]) -> None:
    """Count what Maven downloads and copies: in place on a terminal, every 25th file elsewhere."""
    files = 0
    terminal = sys.stdout.isatty()
    for line in output:
        tail.append(line)
        if "Downloaded from" not in line and "Copying " not in line:
            continue
        files += 1
        if terminal:
            print(f"\r  {files} files", end="", flush=True)
        elif files % 25 == 0:
            print(f"  {files} files", flush=True)
    if terminal and files:
        print(flush=True)
