"""Fill the tables that documents draw from the code: settings, commands, operations.

``python -m tools.dev.readme`` does it; a test fails while it has not been done.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import get_args

from pydantic import SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from payments.doctor.rights import GRANTS
from payments.gateway import gateway_metrics
from payments.gateway.operations import OPERATIONS
from payments.gateway.settings import GatewaySettings
from payments.process.metric_family import Family
from payments.settings import Settings
from payments.worker import metric_families
from tools.dev.cli_reference import commands, exit_codes

README = Path(__file__).parents[2] / "README.md"
CLI = README.parent / "docs" / "cli.md"
HTTP = README.parent / "docs" / "http.md"
SECURITY = README.parent / "docs" / "security.md"
METRICS = README.parent / "docs" / "metrics.md"
SECRETS = {SecretStr, SecretBytes}


def default(field: FieldInfo) -> str:
    """Return a setting's default as the environment would give it; of a secret, nothing."""
    secret = SECRETS & {field.annotation, *get_args(field.annotation)}
    if secret or field.default in {None, "", ()}:
        return ""
    value = field.default
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:.15g}`" if isinstance(value, float) else f"`{value}`"


def settings(model: type[BaseSettings] = Settings) -> str:
    """Return the Markdown table of the settings: variable, default, meaning."""
    prefix = model.model_config.get("env_prefix", "")
    rows = [["variable", "default", "meaning"], ["---"] * 3]
    for name, field in model.model_fields.items():
        meaning = " ".join((field.description or "").split()).replace("|", "\\|")
        rows.append([f"`{prefix}{name.upper()}`", default(field), meaning])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def filled(text: str, section: str, content: str) -> str:
    """Return the text with the content between the section's two marks; both must be there once."""
    start, end = f"<!-- {section} -->", f"<!-- /{section} -->"
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ValueError(f"the document needs {start} and, below it, {end}: each once")
    before, _, rest = text.partition(start)
    after = rest.partition(end)[2]
    return f"{before}{start}\n{content}\n{end}{after}"


def current(text: str) -> str:
    """Return the README's text with its tables as the code has them now."""
    text = filled(text, "settings", settings())
    return filled(text, "gateway-settings", settings(GatewaySettings))


def current_cli(text: str) -> str:
    """Return the text of docs/cli.md with its tables as the code has them now."""
    return filled(filled(text, "commands", commands()), "exit codes", exit_codes())


def rights() -> str:
    """Return the Markdown table of the least rights of each role."""
    rows = [["user", "on", "rights", "for"], ["---"] * 4]
    for role, grants in GRANTS.items():
        for grant in grants:
            names = ", ".join(f"`{name}`" for name in grant.names)
            on = f"{grant.resource} {names}".strip()
            rows.append([role, on, ", ".join(grant.operations), grant.why])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def current_security(text: str) -> str:
    """Return the text of docs/security.md with its table as the code has it now."""
    return filled(text, "rights", rights())


def operations() -> str:
    """Return the Markdown table of the gateway's operations."""
    rows = [["request", "scope", "what it does"], ["---"] * 3]
    for one in OPERATIONS:
        scopes = " or ".join(f"`{scope}`" for scope in one.scopes)
        rows.append([f"`{one.method} {one.path}`", scopes, one.summary])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def current_http(text: str) -> str:
    """Return the text of docs/http.md with its table as the code has it now."""
    return filled(text, "operations", operations())


def metrics(families: Iterable[Family]) -> str:
    """Return the Markdown table of metric families."""
    rows = [["metric", "labels", "what it is", "when it is high"], ["---"] * 4]
    for one in families:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        kind = f"{one.kind}, {one.unit}" if one.unit else one.kind
        rows.append([f"`{one.sample}`", labels, f"{one.meaning} ({kind})", one.when_high])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def current_metrics(text: str) -> str:
    """Return the text of docs/metrics.md with its tables as the code has them now."""
    text = filled(text, "worker metrics", metrics(metric_families.FAMILIES))
    return filled(text, "gateway metrics", metrics(gateway_metrics.FAMILIES))


DOCUMENTS: Mapping[Path, Callable[[str], str]] = {
    README: current,
    CLI: current_cli,
    HTTP: current_http,
    SECURITY: current_security,
    METRICS: current_metrics,
}


def main() -> int:
    """Write each document anew where a table has changed."""
    for document, renewed in DOCUMENTS.items():
        before = document.read_text(encoding="utf-8")
        after = renewed(before)
        if after != before:
            document.write_text(after, encoding="utf-8")
        print(f"{document.name}: " + ("tables renewed" if after != before else "nothing to do"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
