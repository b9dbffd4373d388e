"""The Python standard library as documents: what `scripts/run` offers to search, as the index `python`.

A document: `id` (the qualified name, `json.loads`; builtins as typed, `str.split`), `name` (its last part), `kind` (module,
class, function, method, property), `module`, `signature`, `summary` (the first paragraph of the docstring), `doc` (all of it).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from .model import Field, IndexSettings

INDEX = "python"

SETTINGS = IndexSettings(
    fields={
        field.name: field
        for field in (
            Field("id", "text", boost=2.0),  # the qualified name: people type it, whole or in part
            Field("name", "text", boost=2.0),
            Field("kind", "keyword"),
            Field("module", "text", boost=1.0),
            Field("signature", "text", boost=0.5, keyword=False),
            Field("summary", "text", boost=2.0, keyword=False),
            Field("doc", "text", keyword=False),
        )
    },
    dynamic=False,
)

SCRIPT = Path(__file__).with_name("pydocs.py")


def collect(progress: Callable[[int, int], None] | None = None) -> Iterator[dict]:
    """The documents, by id; before the first one, `progress(done, total)` counts the modules that are read.

    A process of its own collects, with an empty environment, so that nothing of what it loads stays in this one.
    Raises RuntimeError where it fails."""
    command = [sys.executable, "-I", "-S", "-X", "utf8", "-W", "ignore", str(SCRIPT)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={}) as process:
        try:
            for line in process.stdout:
                value = json.loads(line)
                if "id" in value:
                    yield value
                elif progress:
                    progress(*value["progress"])
            failure = process.stderr.read().decode(errors="replace").strip()
            process.wait()
        finally:
            process.kill()  # of no effect where it has ended
    if process.returncode:
        reason = failure.splitlines()[-1] if failure else f"status {process.returncode}"
        raise RuntimeError(f"Collecting the standard library's documentation failed: {reason}")
