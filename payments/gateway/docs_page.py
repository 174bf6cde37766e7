"""The page at ``/docs``: the OpenAPI document for people, without scripts and without the network.

It is made once, when the gateway starts; what it loads is itself.
"""

import json
from html import escape
from typing import Any

Json = dict[str, Any]
STYLE = """
:root { color-scheme: light dark; --line: #8885; --quiet: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; text-transform: capitalize; }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .5rem 0; }
summary { cursor: pointer; padding: .5rem .8rem; }
details[open] > summary { border-bottom: 1px solid var(--line); }
.inside { padding: 0 .8rem .8rem; }
.method { display: inline-block; min-width: 3.2rem; font-weight: 700; }
.post { color: #1a7f37; } .get { color: #0969da; }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { background: var(--quiet); padding: .6rem; border-radius: .3rem; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0;
  border-bottom: 1px solid var(--line); }
.what { display: block; opacity: .8; }
"""


def page(document: Json) -> str:
    """Return the page of an OpenAPI document."""
    info = document["info"]
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(info['title'])}</title><style>{STYLE}</style>",
        f"<h1>{escape(info['title'])}</h1><p>Version {escape(info['version'])}. The same for ",
        'programs: <a href="/openapi.json">openapi.json</a> (OpenAPI 3.1).</p>',
        f"<p>{escape(info['description'])}</p>",
    ]
    for tag in document["tags"]:
        parts.append(f"<h2>{escape(tag['name'])}</h2>")
        parts += [
            _operation(method, path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            if tag["name"] in operation["tags"]
        ]
    return "".join(parts) + "</html>"


def _operation(method: str, path: str, operation: Json) -> str:
    inside = [f"<h4>Try it</h4><pre>{escape(curl(method, path, operation))}</pre>"]
    if operation["parameters"]:
        rows = [
            f"<tr><td><code>{escape(one['name'])}</code><td>{escape(one['in'])}"
            f"<td>{escape(one['description'])}"
            for one in operation["parameters"]
        ]
        inside.append(f"<h4>Parameters</h4><table>{''.join(rows)}</table>")
    inside.append("<h4>Answers</h4><table>")
    for status, response in operation["responses"].items():
        inside.append(f"<tr><th>{status}<td>{escape(response['description'])}{_example(response)}")
    inside.append("</table>")
    return (
        f'<details id="{operation["operationId"]}"><summary>'
        f'<span class="method {method}">{method.upper()}</span> <code>{escape(path)}</code>'
        f'<span class="what">{escape(operation["summary"])}</span></summary>'
        f'<div class="inside">{"".join(inside)}</div></details>'
    )


def _example(response: Json) -> str:
    for content in response["content"].values():
        if "example" in content:
            example = content["example"]
            text = example if isinstance(example, str) else json.dumps(example, indent=2)
            return f"<pre>{escape(text)}</pre>"
    return ""


def curl(method: str, path: str, operation: Json) -> str:
    """Return a command line that sends the operation's example."""
    words = ["curl"] if method == "get" else ["curl", "-X", method.upper()]
    for parameter in operation["parameters"]:
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
        elif parameter["in"] == "query" and "example" in parameter:
            path += f"?{parameter['name']}={parameter['example']}"
        elif parameter.get("required"):
            words += ["-H", f"'{parameter['name'].lower()}: {parameter['example']}'"]
    if operation["operationId"] == "getEvents":
        words.append("-N")
    words.append(f"localhost:8080{path}")
    body = operation.get("requestBody")
    if body is not None and body["required"]:
        example = body["content"]["application/json"]["example"]
        words += ["-H", "'content-type: application/json'", "-d", f"'{json.dumps(example)}'"]
    return " ".join(words)
