"""Engines: `open_engine` is the only place that knows which there are."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from ..exceptions import Invalid
from .opensearch.target import Target

if TYPE_CHECKING:
    from ..config import Settings
    from .base import Engine, SystemStore, Worker


SPARE = 4  # threads beside those of the requests: health, keys, what was written lately


def open_engine(settings: Settings) -> tuple[Engine, SystemStore]:
    """The engine that ENGINE_URL names, and where its aliases and tasks are kept."""
    if settings.engine_url == "embedded:":
        from .embedded import EmbeddedEngine

        engine = EmbeddedEngine(settings.data_dir, limits=settings.document_limits)
        return engine, engine.system
    from .opensearch.engine import OpenSearchEngine

    threads = settings.threads + settings.write_threads + settings.stream_threads + SPARE
    engine = OpenSearchEngine(_target(settings), limits=settings.document_limits, threads=threads)
    return engine, engine.system


def open_worker(settings: Settings) -> Worker:
    """What the indexer's process does for the engine that ENGINE_URL names. The engine may be away: it is waited for."""
    if settings.engine_url == "embedded:":
        from .embedded.indexer import Indexer

        return Indexer(settings.data_dir, settings.idempotency_hours)
    from .opensearch.engine import OpenSearchEngine
    from .opensearch.worker import Worker

    return Worker(OpenSearchEngine(_target(settings), limits=settings.document_limits, threads=SPARE), settings.idempotency_hours)


def _target(settings: Settings) -> Target:
    """Raises Invalid."""
    try:
        return Target.parse(settings.engine_url)
    except ValueError as error:
        raise Invalid.at("ENGINE_URL", "unknown_engine", f"ENGINE_URL cannot be used: {error}.") from None


def whereabouts(settings: Settings) -> str:
    """What is the same for two settings that name the same data. Raises EngineUnavailable, Invalid."""
    if settings.engine_url == "embedded:":
        return str(settings.data_dir.resolve())
    from .opensearch.client import Cluster

    target = _target(settings)
    with closing(Cluster(target, threads=1)) as cluster:
        return f"{cluster.ask('GET', '/', again=True)['cluster_uuid']}/{target.prefix}"


def place(settings: Settings) -> str:
    """Where the data is, for people: a folder, or a cluster without its user and password. Raises Invalid."""
    return str(settings.data_dir.absolute() if settings.engine_url == "embedded:" else _target(settings))


def is_there(settings: Settings) -> bool:
    """Whether there is something to open; opening makes what is missing. Raises EngineUnavailable."""
    if settings.engine_url == "embedded:":
        return (settings.data_dir / "system.db").is_file()
    from .opensearch.client import Cluster
    from .opensearch.names import Names

    target = Target.parse(settings.engine_url)
    with closing(Cluster(target, threads=1)) as cluster:
        return cluster.ask("GET", f"/{Names(target.prefix).system}", again=True, missing=True) is not None
