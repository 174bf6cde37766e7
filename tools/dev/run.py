"""``make run``: broker, topics, worker, gateway, a guided set of commands; then it stays up.

Ctrl-C or SIGTERM ends it in order: gateway and worker are drained first, then the broker is stopped
if it was started here. Its data stays for the next run.
"""

import argparse
import asyncio
import json
import logging
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from pydantic import ValidationError

from payments.cli.user_errors import settings_problems
from payments.gateway.settings import GatewaySettings
from payments.settings import Settings
from tools.dev.broker import (
    DEFAULT_VERSION,
    Broker,
    GivenBroker,
    broker_port,
    choose_broker,
    kafka_version,
)
from tools.dev.demo import guided_set, run_guided_set, run_number
from tools.dev.errors import BrokerError
from tools.dev.local_broker import KAFKA_FOLDER
from tools.dev.ports import HOST, SILENT, holder, is_taken
from tools.dev.runs import Run, Use
from tools.dev.terminal import indented, say, step
from tools.dev.worker import Worker, WorkerLostError

TOPICS = Path(__file__).resolve().parents[2] / "topics.yaml"
RUN_NAME = "make-run-"
WORKER_DEFAULTS = {
    "PAYMENTS_OPENING_BALANCE": "100000",
    # The timers release lapsed holds window by window: with one of a minute, a reader would wait.
    "PAYMENTS_WINDOW_SECONDS": "1",
    # Static membership: a worker that was killed has its partitions back in 2 to 3 seconds. The
    # name holds the machine's, since two of one name on a shared broker would put each other out.
    "PAYMENTS_INSTANCE_ID": RUN_NAME + re.sub("[^a-zA-Z0-9._-]", "-", socket.gethostname()),
}
WATCH_SECONDS = 0.5
WORTH_SAYING_SECONDS = 1.0
COMMAND_LIMIT_SECONDS = 120.0
INTERRUPTED = 130


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.dev.run", description=__doc__)
    parser.add_argument("--exit-after-demo", action="store_true", help="end after the guided set")
    stay = not parser.parse_args().exit_after_demo
    # What aiokafka retries by itself is no news; what it gives up on comes as an exception.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    # SIGTERM shall end this like Ctrl-C, so that the same clean-up runs; and so shall SIGINT where
    # a shell that runs this in the background had it ignored.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run = None
    try:
        broker = choose_broker(kafka_version(), broker_port())
        settings = read_settings(
            {**WORKER_DEFAULTS, **os.environ, "PAYMENTS_BROKERS": broker.bootstrap}
        )
        run = Run(KAFKA_FOLDER)
        left = run.begin(Use(broker.bootstrap, gateway_port(), settings.app_id))
        with_broker(broker, run, stay=stay, left=left)
    except KeyboardInterrupt:
        # While it stays up, an interrupt is how it is meant to end; before that it is a break-off.
        return 0 if stay else INTERRUPTED
    except BrokerError as error:
        say(f"Error: {error}")
        return 1
    finally:
        if run is not None:
            run.end()
    return 0


def with_broker(broker: Broker, run: Run, *, stay: bool, left: bool) -> None:
    """Run everything on this broker; end the broker only if it did not run before.

    One that a run which was killed has ``left`` is this one's.
    """
    was_running = broker.running and not left
    try:
        if broker.running and left:
            say("A make run that was killed has left its Kafka: it goes on with this one")
        elif not was_running:
            say("Starting Kafka (the first time it is downloaded, which may take minutes)")
        began = time.monotonic()
        broker.start()
        stays = was_running and not isinstance(broker, GivenBroker)
        told = "; it ran already, and goes on when this ends" if stays else took(began)
        if not was_running:
            run.ends_broker()
        step("Kafka", f"{broker.describe()}{told}")
        with_worker(broker, run, stay=stay)
    except WorkerLostError as error:
        # The way out that its last line names needs the broker, and no worker.
        was_running = True
        if error.was_killed:
            message = (
                f"{error}. Kafka goes on at {broker.bootstrap}. Find out who sends the signal "
                f"(kill, or the system where memory is short); then make run again"
            )
        else:
            message = (
                f"{error}. Kafka goes on at {broker.bootstrap}, so that you can do what its last "
                f"line says (docs/runbook.md); then make run again"
            )
        raise WorkerLostError(message, was_killed=error.was_killed) from error
    finally:
        ignore_interrupts()
        if broker.running and not was_running:
            say("Stopping Kafka; its data stays")
            broker.stop()
        elif broker.running and not isinstance(broker, GivenBroker):
            say(f"Kafka goes on at {broker.bootstrap}. To end it: {down_command()}")


def down_command() -> str:
    """Return the command that ends the broker of this port and version.

    It names the port: it may be typed where PAYMENTS_BROKERS is set for the command ``payments``.
    """
    command = [os.path.relpath(sys.executable), "-m", "tools.dev.broker", "down"]
    command += ["--port", str(broker_port())]
    if kafka_version() != DEFAULT_VERSION:
        command += ["--version", kafka_version()]
    return " ".join(command)


def with_worker(broker: Broker, run: Run, *, stay: bool) -> None:
    """Apply the topics, run the worker and the guided set, and stay up if asked to."""
    given = {**WORKER_DEFAULTS, **os.environ, "PAYMENTS_BROKERS": broker.bootstrap}
    settings = read_settings(given)
    run.end_leftovers()
    port = gateway_port()
    require_free_gateway(port)
    require_alone(settings)
    began = time.monotonic()
    summary = apply_topics(given)
    step("topics", f"{summary}{took(began)}")
    for line in examine(given):
        step("doctor", line)
    worker, gateway = (
        Worker(given, run.log(name), name, run.record(name)) for name in ("worker", "gateway")
    )
    worker.start()
    try:
        step("worker", f"pid {worker.pid}, log in {run.log('worker')}")
        gateway.start()
        step("gateway", f"pid {gateway.pid}, http://{HOST}:{port}/docs")
        say()
        number = demonstrate(settings, worker)
        if stay:
            say_what_next(settings, port, given, number)
            while True:
                worker.watch()
                gateway.watch()
                time.sleep(WATCH_SECONDS)
    finally:
        ignore_interrupts()
        say("\nStopping the gateway and the worker")
        gateway.stop()
        worker.stop()


def gateway_port() -> int:
    """Return the port that the gateway will have; raises BrokerError where settings are wrong."""
    try:
        # Read with the same rules as the gateway's own; the environment is its environment too.
        return GatewaySettings().port
    except ValidationError as error:
        told = settings_problems(error, "PAYMENTS_GATEWAY_")
        message = f"the gateway's settings are wrong: {told}"
        raise BrokerError(message) from error


def require_free_gateway(port: int) -> None:
    """Raise BrokerError when the gateway's port is in use."""
    if is_taken(port):
        message = (
            f"port {port} is in use by {holder(port)}: stop that program, or choose another port "
            f"for the gateway (PAYMENTS_GATEWAY_PORT=8081 make run)"
        )
        raise BrokerError(message)


def ignore_interrupts() -> None:
    """Let the clean-up finish, whatever is pressed: each of its steps has a limit."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def read_settings(given: Mapping[str, str]) -> Settings:
    """Return the settings that the worker will have."""
    window = given["PAYMENTS_WINDOW_SECONDS"]
    others: dict[str, Any] = {"window_seconds": window} if window else {}
    try:
        return Settings(
            brokers=given["PAYMENTS_BROKERS"],
            opening_balance=int(given["PAYMENTS_OPENING_BALANCE"]),
            **others,
        )
    except ValidationError as error:
        message = f"the settings are wrong: {settings_problems(error)}"
        raise BrokerError(message) from error
    except ValueError as error:
        message = f"the settings are wrong: PAYMENTS_OPENING_BALANCE: {error}"
        raise BrokerError(message) from error


def took(began: float) -> str:
    """Return how long a step took, where that is worth a word."""
    seconds = time.monotonic() - began
    return f" ({seconds:.1f} s)" if seconds >= WORTH_SAYING_SECONDS else ""


def require_alone(settings: Settings) -> None:
    """Raise BrokerError while the worker of another ``make run`` is in the same group.

    Two with one name would throw each other out for ever, and answer in turns. One that was killed
    is still there until its session ends, so this waits as long.
    """
    admin = AdminClient({"bootstrap.servers": settings.brokers, "log_level": 0}, logger=SILENT)
    deadline = time.monotonic() + settings.session_timeout_seconds + WATCH_SECONDS
    waits = False
    while others := [name for name in _members(admin, settings.app_id) if RUN_NAME in name]:
        if time.monotonic() > deadline:
            message = (
                f"another make run uses {settings.brokers} with PAYMENTS_APP_ID="
                f"{settings.app_id} ({others[0]}): end that one, or give this one names and a port "
                f"of its own: PAYMENTS_APP_ID=second PAYMENTS_TOPIC_PREFIX=second. "
                f"PAYMENTS_GATEWAY_PORT=8081 make run"
            )
            raise BrokerError(message)
        if not waits:
            say(f"Waiting for the worker of another make run to leave ({others[0]})")
            waits = True
        time.sleep(WATCH_SECONDS)


def _members(admin: AdminClient, group: str) -> list[str]:
    """Return the static members of a group; none where it can't be asked for."""
    [asked] = admin.describe_consumer_groups([group], request_timeout=10).values()
    try:
        return [member.group_instance_id or "" for member in asked.result().members]
    except KafkaException as error:
        # A new broker has no coordinator yet, and so no group either.
        logging.getLogger(__name__).debug("the group can't be asked for: %s", error)
        return []


def run_command(given: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``payments`` with these arguments."""
    return subprocess.run(
        [sys.executable, "-m", "payments.cli", *arguments],
        env=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_LIMIT_SECONDS,
    )


def examine(given: Mapping[str, str]) -> list[str]:
    """Run ``payments doctor``; return what is not as it should be, or that all is.

    Nothing ends here: what a worker can't work with, it says itself when it starts.
    """
    done = run_command(given, "doctor", "--json", "--file", str(TOPICS))
    found = [json.loads(line) for line in done.stdout.splitlines()]
    lines = [
        f"{each['level']}: {each['what']} {each['where']}: {each['value']} -> {each['next_step']}"
        for each in found
        if each["level"] != "ok"
    ]
    if not lines and done.returncode != 0:
        lines = [done.stderr.strip()]
    return lines or ["nothing keeps a worker from its work"]


def apply_topics(given: Mapping[str, str]) -> str:
    """Run ``payments topics apply``; return its summary. Raises BrokerError with all of it."""
    done = run_command(given, "topics", "apply", "--file", str(TOPICS))
    if done.returncode != 0:
        message = f"the topics cannot be applied\n{done.stdout}{done.stderr}"
        raise BrokerError(message)
    summary = [line for line in done.stdout.splitlines() if line.startswith("Plan:")]
    return " ".join(summary).removeprefix("Plan: ")


def demonstrate(settings: Settings, worker: Worker) -> str:
    """Send the guided set; return its run number. On a failure show what the worker said."""
    run = run_number()
    steps = guided_set(run, settings.opening_balance)
    try:
        asyncio.run(run_guided_set(settings, steps, worker.watch))
    except WorkerLostError:
        raise
    except (BrokerError, KafkaError) as error:
        tail = indented(worker.tail())
        message = f"{error}\nThe worker's last lines:\n{tail}"
        raise BrokerError(message) from error
    return run


def command_line(given: Mapping[str, str]) -> str:
    """Return the command with the settings by which it reaches this installation."""
    names = ("PAYMENTS_BROKERS", "PAYMENTS_APP_ID", "PAYMENTS_TOPIC_PREFIX", "PAYMENTS_PARTITIONS")
    settings = [f"{name}={shlex.quote(given[name])}" for name in names if given.get(name)]
    return " ".join([*settings, os.path.relpath(Path(sys.executable).parent / "payments")])


def say_what_next(settings: Settings, port: int, given: Mapping[str, str], run: str) -> None:
    """Print lines to try in a second terminal; their ids are new ones, of this run."""
    over_http, over_kafka, account = f"pay-{run}-7", f"pay-{run}-8", f"acc-{run}"
    commands, results, ledger = (
        f"-b {settings.brokers} -t {settings.topic(name)}"
        for name in ("payments.commands", "payments.results", "accounts.ledger")
    )
    journal = f"-b {settings.brokers} -t {settings.changelog('payments')}"
    example = f'{over_kafka}:{{"type":"make","account":"{account}","amount":100}}'
    say()
    say("It stays up; Ctrl-C ends it. To try in a second terminal:")
    say()
    as_json = "-H 'content-type: application/json'"
    say("  # over HTTP: make a payment, cancel it, look at the account")
    say(
        f"  curl -X POST localhost:{port}/payments/{over_http}/makePayment {as_json}"
        f""" -d '{{  "accountId": "{account}", "amount": 100 }}'"""
    )
    say(f"  curl -X POST localhost:{port}/payments/{over_http}/cancelPayment")
    say(f"  curl localhost:{port}/v1/accounts/{account}")
    say("  # watch the results, then send a command (again and again: charged once)")
    say(f"  kcat -C -q {results} -o end")
    say(f"  echo '{example}' | kcat -P {commands} -K:")
    say("  # the account's history, and the journal of the payments")
    say(f"  kcat -C -q -e {ledger}")
    say(f"  kcat -C -q -e {journal} -f '%k %s\\n'")
    say()
    say(f"The API, to read and to try: http://{HOST}:{port}/docs")
    say(f"The command: {command_line(given)} get {over_kafka}")
    say()


if __name__ == "__main__":
    sys.exit(main())
