"""docs/engines.md lists what one engine lacks."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from searchapi.engines.base import Capabilities
from searchapi.engines.embedded import EmbeddedEngine
from searchapi.engines.opensearch.engine import OpenSearchEngine

PAGE = Path(__file__).resolve().parents[2] / "docs" / "engines.md"


def test_every_capability_is_on_the_page():
    """Each with a row, in which the engines stand as they are."""
    rows = {line.split("`")[1]: line.split("|")[2:4] for line in PAGE.read_text().splitlines() if line.startswith("| `")}
    for field in fields(Capabilities):
        if field.name != "engine":
            said = [cell.strip() == "yes" for cell in rows[field.name]]
            assert said == [getattr(kind.capabilities, field.name) for kind in (EmbeddedEngine, OpenSearchEngine)], field.name
