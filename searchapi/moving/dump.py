"""The form of a dump: a folder, or the same in one tar file. It says nothing of an engine, so any reads what any wrote.

    dump.json                        format, id, when, from which engine, the indexes with their counts and checksums,
                                     and size and SHA-256 of every other file. Written last: without it a dump is not whole
    aliases.json                     {alias: index}
    keys.ndjson                      a key a line, as it is kept: digests, no secrets
    indexes/<name>/settings.json     {settings, fields}: as the API answers them, the inferred fields too
    indexes/<name>/documents.ndjson  {"id", "version", "document"} a line, in the order of ids
    indexes/<name>/changes.ndjson    what was written while those were read, in order; {"id", "version"} alone is a delete

The documents of an index are those of documents.ndjson, after the changes.
"""

from __future__ import annotations

from typing import Any

import orjson

from ..engines.keys import key_of
from ..exceptions import Unreadable
from ..model import Document, Field, IndexSettings, Key
from ..schema import parse_settings, settings_to_json

FORMAT = 1
MANIFEST = "dump.json"
ALIASES = "aliases.json"
KEYS = "keys.ndjson"


def path_of(index: str, kind: str) -> str:
    return f"indexes/{index}/{kind}"


def line_of(id: str, version: int, body: bytes | None) -> bytes:
    """body goes in as it is: it is JSON already, and the same bytes come out again."""
    head = b'{"id":' + orjson.dumps(id) + b',"version":' + str(version).encode()
    return head + (b"}\n" if body is None else b',"document":' + body + b"}\n")


def document_of(line: bytes, place: str) -> tuple[str, Document | None]:
    """(id, document or None for a delete). Raises Unreadable, which names the place."""
    try:
        row = orjson.loads(line)
        id, version, document = row["id"], row["version"], row.get("document")
        if not (isinstance(id, str) and id and isinstance(version, int) and isinstance(document, dict | None)):
            raise ValueError("not a document")
    except (ValueError, TypeError, KeyError) as error:
        raise Unreadable(f"{place} is damaged: expected a document with its id and version ({error}).") from None
    return id, None if document is None else Document(id, version, orjson.dumps(document))


def index_to_json(settings: IndexSettings, fields: dict[str, Field]) -> dict[str, Any]:
    rows = [
        {"name": f.name, "type": f.type, "language": f.language, "keyword": f.keyword, "array": f.array, "inferred": f.inferred}
        for f in fields.values()
    ]
    return {"settings": settings_to_json(settings), "fields": rows}


def index_from_json(data: bytes, place: str) -> tuple[IndexSettings, dict[str, Field]]:
    """Raises Unreadable."""
    try:
        body = orjson.loads(data)
        return parse_settings(body["settings"]), {row["name"]: Field(**row) for row in body["fields"]}
    except Exception as error:
        raise Unreadable(f"{place} is damaged: {error}.") from None


def key_from_json(line: bytes, place: str) -> Key:
    """Raises Unreadable."""
    try:
        return key_of(orjson.loads(line))
    except (ValueError, TypeError, KeyError) as error:
        raise Unreadable(f"{place} is damaged: expected a key ({error}).") from None
