"""The page at ``/docs``: Swagger UI over the gateway's own OpenAPI document.

All of its addresses are relative: it works on any port and under any path, and its requests go to
the gateway that served it.
"""

from functools import cache
from pathlib import Path

from swagger_ui_bundle import swagger_ui_path

PAGE = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Payments</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
<div id="page"></div>
<noscript>This page needs scripts. The same for programs: <a href="openapi.json">openapi.json</a>
</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</html>
"""
START = b"""SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  dom_id: "#page",
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,
  requestSnippetsEnabled: true
});
"""
CSS, SCRIPT = "text/css; charset=utf-8", "text/javascript; charset=utf-8"
TYPES = {"swagger-ui.css": CSS, "swagger-ui-bundle.js": SCRIPT, "start.js": SCRIPT}


@cache
def file(name: str) -> tuple[bytes, str] | None:
    """Return a file of the page and its content type; None when it does not exist."""
    if name not in TYPES:
        return None
    content = START if name == "start.js" else (Path(swagger_ui_path) / name).read_bytes()
    return content, TYPES[name]
