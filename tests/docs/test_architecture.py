"""The map of the code names every package, and nothing that is not there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_package_is_on_the_map() -> None:
    packages = [
        f"{file.parent.relative_to(ROOT)}/"
        for top in ("exactstage", "payments", "tools")
        for file in [ROOT / top / "__init__.py", *(ROOT / top).glob("*/__init__.py")]
    ]
    on_the_map = set(re.findall(r"^\| `([\w/.]+)` \|", PAGE, re.MULTILINE))
    assert {"exactstage/", "payments/domain/", "tools/dev/"} <= set(packages)
    assert set(packages) - on_the_map == {"payments/", "tools/"}


def test_every_path_of_the_map_is_there() -> None:
    paths = re.findall(r"`((?:exactstage|payments|tools|tests|examples)/[\w/.]*)`", PAGE)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
