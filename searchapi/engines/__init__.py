"""Engines: `open_engine` is the only place that knows which there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exceptions import Invalid

if TYPE_CHECKING:
    from ..config import Settings
    from .base import Engine, SystemStore


def open_engine(settings: Settings) -> tuple[Engine, SystemStore]:
    """The engine that ENGINE_URL names, and where its aliases and tasks are kept."""
    if settings.engine_url != "embedded:":
        raise Invalid.at("ENGINE_URL", "unknown_engine", f"ENGINE_URL: expected embedded:, got {settings.engine_url!r}.")
    from .embedded import EmbeddedEngine

    engine = EmbeddedEngine(settings.data_dir, limits=settings.document_limits)
    return engine, engine.system


def is_there(settings: Settings) -> bool:
    """Whether there is something to open; opening makes what is missing."""
    return (settings.data_dir / "system.db").is_file()
