"""What is searched: the Python standard library, and this machine's Debian package lists."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from searchapi import demo
from searchapi.model import Field, IndexSettings

FEWEST_PACKAGES = 10_000  # below this the lists are those of a container without sources, not Debian's

PACKAGES = IndexSettings(
    fields={
        field.name: field
        for field in (
            Field("id", "keyword"),
            Field("name", "text", boost=3.0),
            Field("summary", "text", boost=2.0, keyword=False),
            Field("description", "text", keyword=False),
            Field("maintainer", "text", boost=0.5),
            Field("section", "keyword"),
            Field("priority", "keyword"),
            Field("depends", "keyword", array=True),
            Field("tags", "keyword", array=True),
            Field("version", "keyword"),
            Field("homepage", "keyword"),
            Field("size", "integer"),
        )
    },
    dynamic=False,
)


class Unavailable(Exception):
    """A corpus that this machine does not have, and why."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """name: of the index. title: of the table. facets: two fields to count."""

    name: str
    title: str
    settings: IndexSettings
    documents: Sequence[dict[str, Any]]
    facets: tuple[str, str]

    @property
    def size(self) -> int:
        """Bytes, as NDJSON."""
        return sum(len(orjson.dumps(d)) + 1 for d in self.documents)

    def described(self) -> str:
        return f"{self.title}: {len(self.documents):,} documents, {self.size / 1e6:.1f} MB"


def stdlib(most: int | None = None) -> Corpus:
    found = list(itertools.islice(demo.collect(), most))
    return Corpus("python", "standard library", demo.SETTINGS, found, ("kind", "module"))


def packages(most: int | None = None) -> Corpus:
    """Raises Unavailable where the machine has no Debian package lists."""
    if shutil.which("apt-cache") is None:
        raise Unavailable("this machine has no apt-cache, so no Debian package lists")
    with subprocess.Popen(["apt-cache", "dumpavail"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        found = list(itertools.islice(map(package, stanzas(process.stdout)), most))
        process.kill()  # of no effect where it has ended
    if most is None and len(found) < FEWEST_PACKAGES:
        raise Unavailable(f"apt-cache lists only {len(found):,} packages; `apt-get update` fetches Debian's lists")
    return Corpus("packages", "Debian packages", PACKAGES, found, ("section", "tags"))


def stanzas(lines) -> Iterator[dict[str, str]]:
    """The paragraphs of Debian's control format (deb822): names in lower case; a continued value keeps its newlines."""
    stanza: dict[str, str] = {}
    name = ""
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\n")
        if not line.strip():
            if stanza:
                yield stanza
            stanza = {}
        elif line[0] in " \t":
            stanza[name] += "\n" + line[1:]
        else:
            name, _, value = line.partition(":")
            name = name.lower()
            stanza[name] = value.strip()
    if stanza:
        yield stanza


def package(stanza: dict[str, str]) -> dict[str, Any]:
    """A stanza as a document; what is not there is left out."""
    summary, _, description = stanza.get("description", stanza.get("description-en", "")).partition("\n")
    depends = [re.split(r"[ (|:]", entry.strip(), maxsplit=1)[0] for entry in stanza.get("depends", "").split(",")]
    made = {
        "id": stanza["package"],
        "name": stanza["package"],
        "summary": summary,
        "description": re.sub(r"^\.$", "", description, flags=re.MULTILINE).strip(),
        "maintainer": stanza.get("maintainer", "").partition("<")[0].strip(),
        "section": stanza.get("section"),
        "priority": stanza.get("priority"),
        "depends": list(dict.fromkeys(filter(None, depends))),
        "tags": [tag for part in stanza.get("tag", "").split(",") if (tag := part.strip())],
        "version": stanza.get("version"),
        "homepage": stanza.get("homepage"),
        "size": int(stanza["size"]) if "size" in stanza else None,
    }
    return {name: value for name, value in made.items() if value not in (None, "", [])}
