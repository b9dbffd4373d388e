"""An index of OpenSearch that we did not make: its mapping, and its documents in a file of ours. It is only ever read.

Documents come in the order of their shards (scroll). They are kept in a SQLite file until all is moved, because they are needed in
the order of their ids, and sorting by `_id` would take the cluster's memory.
https://docs.opensearch.org/latest/api-reference/scroll/
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from ..engines.opensearch.client import Cluster, NotThere
from ..engines.opensearch.target import Target
from ..exceptions import Conflict, EngineError, Invalid, NotFound
from .copying import Tell

PAGE = 500
KEPT = "10m"  # that the cluster keeps the view of its documents between two pages
SLOW = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Foreign:
    """name: of the concrete index. uid: tells it from another of its name. faults: what of its documents cannot be taken."""

    name: str
    uid: str
    mapping: dict[str, Any]
    aliases: tuple[str, ...]
    count: int
    size_bytes: int
    faults: list[str] = field(default_factory=list)


def look(cluster: Cluster, index: str) -> Foreign:
    """Raises NotFound, Conflict where the name stands for several indexes or one of ours, Invalid where it is a pattern."""
    if not index or any(c in index for c in "*,? /\\#"):
        raise Invalid.at("--adopt", "invalid_name", f"--adopt takes the name of one index, not {index!r}.")
    path = f"/{quote(index, safe='')}"
    try:
        found = cluster.ask("GET", path, again=True)
    except NotThere:
        raise NotFound(f"There is no index {index!r} in this OpenSearch.", code="index_not_found") from None
    if len(found) > 1:
        raise Conflict(f"{index!r} stands for several indexes: {', '.join(sorted(found))}. Adopt them one by one.")
    ((name, about),) = found.items()
    mapping = about["mappings"]
    if "layout" in mapping.get("_meta", {}) and "body" in mapping.get("properties", {}):
        raise Conflict(f"{name!r} is searchapi's own; `migrate --from … --to … --index NAME` moves it.")
    if mapping.get("_source", {}).get("enabled") is False:
        raise Conflict(f"{name!r} does not keep its documents (its _source is off), so they cannot be read.")
    path = f"/{quote(name, safe='')}"
    cluster.ask("POST", f"{path}/_refresh", again=True, timeout=SLOW)
    count = cluster.ask("GET", f"{path}/_count", again=True)["count"]
    size = cluster.ask("GET", f"{path}/_stats/store", again=True)["_all"]["primaries"]["store"]["size_in_bytes"]
    uid = f"{cluster.ask('GET', '/', again=True)['cluster_uuid']}/{about['settings']['index']['uuid']}"
    return Foreign(name, uid, mapping, tuple(sorted(about.get("aliases", {}))), count, size)


@contextmanager
def connected(url: str) -> Iterator[Cluster]:
    """Raises Invalid."""
    try:
        target = Target.parse(url)
    except ValueError as error:
        raise Invalid.at("--from", "unknown_engine", f"--from names the OpenSearch that has the index: {error}.") from None
    with contextlib.closing(Cluster(target, threads=2)) as cluster:
        yield cluster


class Spool:
    """Documents as they came: (id, version, _source as JSON), in the order of ids."""

    def __init__(self, path: Path):
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.close()
        self._connection = sqlite3.connect(path)
        self._connection.execute("PRAGMA journal_mode = OFF")  # a spool that is not whole is thrown away
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("CREATE TABLE documents(id TEXT PRIMARY KEY, version INTEGER, source BLOB) WITHOUT ROWID")

    def fill(self, cluster: Cluster, foreign: Foreign, tell: Tell) -> None:
        """Raises EngineError where fewer documents came than there are."""
        done = 0
        for hits in _pages(cluster, foreign.name):
            for hit in hits:
                row = (hit["_id"], hit["_version"], orjson.dumps(hit.get("_source", {})))
                try:
                    self._connection.execute("INSERT INTO documents VALUES (?, ?, ?)", row)
                except sqlite3.IntegrityError:
                    foreign.faults.append(f"two documents have the _id {hit['_id']!r}, by their routing: only one of them is taken")
            done += len(hits)
            if done % (20 * PAGE) == 0:
                tell(f"{foreign.name}: read {done:,} of {foreign.count:,} documents")
        if done < foreign.count:
            raise EngineError(f"Only {done:,} of the {foreign.count:,} documents of {foreign.name!r} could be read. Try again.")

    def rows(self, after: str | None = None, limit: int = -1) -> Iterator[tuple[str, int, dict[str, Any]]]:
        found = self._connection.execute(
            "SELECT id, version, source FROM documents WHERE id > ? ORDER BY id LIMIT ?", (after or "", limit)
        )
        for id, version, source in found:
            yield id, version, orjson.loads(source)

    def stamp(self) -> str:
        """The same for the same documents: each change of one moves its version."""
        digest = hashlib.sha256()
        for row in self._connection.execute("SELECT id, version FROM documents ORDER BY id"):
            digest.update(repr(row).encode("utf-8", "backslashreplace"))
        return digest.hexdigest()

    def count(self) -> int:
        return self._connection.execute("SELECT count(*) FROM documents").fetchone()[0]

    def close(self) -> None:
        if hasattr(self, "_connection"):
            self._connection.close()
        self._path.unlink(missing_ok=True)


def _pages(cluster: Cluster, name: str) -> Iterator[list[dict[str, Any]]]:
    body = {"size": PAGE, "sort": ["_doc"], "version": True}
    found = cluster.ask("POST", f"/{quote(name, safe='')}/_search", body, params={"scroll": KEPT}, timeout=SLOW)
    try:
        while found["hits"]["hits"]:
            if found["_shards"]["failed"]:
                raise EngineError(f"Parts of {name!r} cannot be read now. Try again.")
            yield found["hits"]["hits"]
            found = cluster.ask("POST", "/_search/scroll", {"scroll": KEPT, "scroll_id": found["_scroll_id"]}, timeout=SLOW)
    finally:
        with contextlib.suppress(EngineError, NotThere):
            cluster.ask("DELETE", "/_search/scroll", {"scroll_id": found["_scroll_id"]})
