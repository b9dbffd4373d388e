"""Engines: `open_engine` is the only place that knows which there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exceptions import Invalid
from .opensearch.target import Target

if TYPE_CHECKING:
    from ..config import Settings
    from .base import Engine, SystemStore


SPARE = 4  # threads beside those of the requests: health, keys, what was written lately


def open_engine(settings: Settings) -> tuple[Engine, SystemStore]:
    """The engine that ENGINE_URL names, and where its aliases and tasks are kept."""
    if settings.engine_url == "embedded:":
        from .embedded import EmbeddedEngine

        engine = EmbeddedEngine(settings.data_dir, limits=settings.document_limits)
        return engine, engine.system
    try:
        target = Target.parse(settings.engine_url)
    except ValueError as error:
        raise Invalid.at("ENGINE_URL", "unknown_engine", f"ENGINE_URL cannot be used: {error}.") from None
    from .opensearch.engine import OpenSearchEngine

    threads = settings.threads + settings.write_threads + settings.stream_threads + SPARE
    engine = OpenSearchEngine(target, limits=settings.document_limits, threads=threads)
    return engine, engine.system


def is_there(settings: Settings) -> bool:
    """Whether there is something to open; opening makes what is missing."""
    return settings.engine_url != "embedded:" or (settings.data_dir / "system.db").is_file()
