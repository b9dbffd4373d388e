"""How far an import has come, in a small file under DATA_DIR/imports: what `import --resume` goes on from."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import click
import orjson


class Progress:
    """Of one file into one index. Without a file (stdin) nothing is remembered."""

    def __init__(self, data_dir: Path, index: str, file: Path | None):
        self._index = index
        self._file = file.resolve() if file else None
        key = hashlib.sha256(f"{index}\0{self._file}".encode(errors="surrogateescape")).hexdigest()[:16]
        self.path = data_dir / "imports" / f"{key}.json"

    @property
    def remembers(self) -> bool:
        return self._file is not None

    def _identity(self, uid: str) -> dict[str, str | int]:
        """What must be the same for positions to mean the same: the file as it was, and the index, not another of its name."""
        facts = self._file.stat()
        return {"file": str(self._file), "size": facts.st_size, "modified_ns": facts.st_mtime_ns, "uid": uid}

    def load(self, uid: str | None) -> int:
        """The position of the first document that is not written yet; 0 where nothing is remembered."""
        try:
            known = orjson.loads(self.path.read_bytes())
        except FileNotFoundError:
            return 0
        if uid is None or known["uid"] != uid:
            raise click.ClickException(f"{self._index!r} is not the index that was imported to; start without --resume.")
        if known != {**known, **self._identity(uid)}:
            raise click.ClickException(f"{self._file} has changed since it was imported from; start without --resume.")
        return known["position"]

    def save(self, uid: str, position: int) -> None:
        if self._file is None:
            return
        self.path.parent.mkdir(exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_bytes(orjson.dumps({**self._identity(uid), "position": position}))
        new.replace(self.path)

    def forget(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
