"""Dumps: what one engine wrote, the other reads; what is damaged is told with its place, and nothing is loaded."""

from __future__ import annotations

import shutil
import tarfile
import threading
from pathlib import Path

import orjson
import pytest

from searchapi.exceptions import Conflict, NotFound, Unreadable
from searchapi.keystore import KeyStore, moment
from searchapi.model import IndexSettings, Operation
from searchapi.moving import copying, dumping, loading, moves
from searchapi.secretkey import secret_key

from .conftest import put, stored


def dumped(lab, end, name: str = "dump") -> Path:
    output = lab.folder / name
    dumping.dump(end, end.names(), output, lambda line: None)
    return output


def load(lab, path: Path, target, **options) -> moves.Report:
    with loading.opened(path) as dump:
        return lab.move(dump, target, **options)


@pytest.mark.parametrize("form", ["dump", "dump.tar"])
@pytest.mark.parametrize("way", ["embedded opensearch", "opensearch embedded"])
def test_dump_on_one_load_on_the_other(lab, form, way):
    """As a folder and as one file: documents, versions, settings, fields, aliases and keys are the same."""
    names = way.split()
    first, second = lab.filled(getattr(lab, names[0])(), 900), getattr(lab, names[1])()
    first.engine.create_index("empty", IndexSettings(language="german"))
    first.engine.write("shelf", [Operation("delete", put(5).id), put(6, title='line\nbreak "é" \u2028')])
    first.system.set_alias("current", "shelf")
    text = lab.key(first)
    path = dumped(lab, first, form)
    report = load(lab, path, second)
    assert report.faults == [] and stored(first) == stored(second) and second.system.aliases() == {"current": "shelf"}
    for name in ("shelf", "empty"):
        before, after = first.engine.index(name), second.engine.index(name)
        assert (before.settings, dict(before.fields)) == (after.settings, dict(after.fields))
    assert KeyStore(secret_key(lab.settings), second.system).verify(text, moment(1)).scopes == {"search"}
    assert "nothing to write" in " ".join(load(lab, path, second).lines)
    assert not list(lab.folder.glob(".dump*"))


def test_a_dump_holds_no_secret_and_is_its_owners_alone(lab):
    """Keys are there as digests, and nobody else on the machine may read them."""
    end = lab.filled(lab.embedded(), 10)
    text = lab.key(end)
    folder, tar = dumped(lab, end), dumped(lab, end, "all.tar")
    assert folder.stat().st_mode & 0o077 == 0 and tar.stat().st_mode & 0o077 == 0
    secret = text.split("_")[2][:32].encode()
    assert not any(secret in path.read_bytes() for path in [tar, *(p for p in folder.rglob("*") if p.is_file())])


def test_written_meanwhile(lab, monkeypatch):
    """A dump is of one moment at its end: what was written, deleted and made while documents were read is in it as it was then."""
    end, second = lab.filled(lab.embedded(), 1400), lab.embedded()
    read, begun = dumping._Writer._read, []

    def read_and_write(writer, name, after):
        rows = read(writer, name, after)
        begun.append(after)
        step = len(begun)
        end.engine.write("shelf", [put(n, year=step) for n in range(0, 200, 7)])
        end.engine.write("shelf", [Operation("delete", put(300 + step).id), put(2000 + step), Operation("delete", put(0).id)])
        return rows

    monkeypatch.setattr(dumping._Writer, "_read", read_and_write)
    path = dumped(lab, end)
    assert len(begun) > 2
    assert load(lab, path, second).faults == [] and stored(second) == stored(end)


def test_goes_on_where_it_was(lab, monkeypatch):
    """A load that was stopped writes what is left."""
    path, second = dumped(lab, lab.filled(lab.embedded(), 1300)), lab.embedded()
    once, written = copying.Copy._write_once, []

    def write(copy, operations):
        if written:
            raise KeyboardInterrupt
        written.append(True)
        once(copy, operations)

    monkeypatch.setattr(copying.Copy, "_write_once", write)
    with pytest.raises(KeyboardInterrupt):
        load(lab, path, second)
    monkeypatch.undo()
    report = load(lab, path, second)
    assert report.faults == [] and "800 written" in report.lines[0] and len(stored(second)) == 1300


def test_chosen_and_refused(lab):
    """One index of several; a target that has other documents of that name; an output that is there already."""
    first, second = lab.filled(lab.embedded(), 20), lab.embedded()
    first.engine.create_index("other", IndexSettings())
    path = dumped(lab, first)
    with pytest.raises(Conflict, match="is there already"):
        dumped(lab, first)
    with loading.opened(path) as dump:
        with pytest.raises(NotFound, match="did you mean 'shelf'"):
            moves.chosen(dump, ["shelff"])
        lab.move(dump, second, {"shelf": "shelf"})
    assert second.names() == ["shelf"]
    second.engine.write("shelf", [put(21)])
    with pytest.raises(Conflict, match="written to since"):
        load(lab, path, second)
    assert load(lab, path, second, overwrite=True).faults == [] and len(stored(second)) == 20


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A small dump that is whole."""
    from .conftest import lab_in

    with lab_in(tmp_path_factory.mktemp("sound"), lambda: "") as lab:
        end = lab.filled(lab.embedded(), 30)
        lab.key(end)
        yield dumped(lab, end)


DOCUMENTS = "indexes/shelf/documents.ndjson"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: cut(folder / DOCUMENTS), f"{DOCUMENTS} is not as it was written: it has "),
        (lambda folder: flip(folder / DOCUMENTS), f"{DOCUMENTS} is not as it was written: its checksum differs"),
        (lambda folder: flip(folder / "keys.ndjson"), "keys.ndjson is not as it was written"),
        (lambda folder: flip(folder / "aliases.json"), "aliases.json is not as it was written"),
        (lambda folder: flip(folder / "indexes/shelf/settings.json"), "settings.json is not as it was written"),
        (lambda folder: (folder / DOCUMENTS).unlink(), f"{DOCUMENTS} is missing"),
        (lambda folder: (folder / "dump.json").unlink(), "it has no dump.json"),
        (lambda folder: cut(folder / "dump.json"), "dump.json is damaged"),
        (lambda folder: (folder / "dump.json").write_bytes(b"[]"), "dump.json is damaged"),
    ],
)
def test_damaged(lab, sound, damage, told):
    """Each file is compared with what was written before anything is loaded, and the one that differs is named."""
    folder, target = lab.folder / "damaged", lab.embedded()
    shutil.copytree(sound, folder)
    damage(folder)
    with pytest.raises(Unreadable, match=told):
        load(lab, folder, target)
    assert target.names() == []


def test_a_line_that_is_no_document_is_named(lab, sound):
    """Also where somebody has written the checksums anew."""
    import hashlib

    folder, target = lab.folder / "edited", lab.embedded()
    shutil.copytree(sound, folder)
    lines = (folder / DOCUMENTS).read_bytes().splitlines()
    lines[3] = b'{"id": 3}'
    data = b"\n".join(lines) + b"\n"
    (folder / DOCUMENTS).write_bytes(data)
    manifest = orjson.loads((folder / "dump.json").read_bytes())
    manifest["files"][DOCUMENTS] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "dump.json").write_bytes(orjson.dumps(manifest))
    with pytest.raises(Unreadable, match=r"documents.ndjson, line 4 is damaged"):
        load(lab, folder, target)


def test_another_format(lab, sound):
    """Of a newer release is told as that."""
    folder = lab.folder / "newer"
    shutil.copytree(sound, folder)
    manifest = orjson.loads((folder / "dump.json").read_bytes())
    (folder / "dump.json").write_bytes(orjson.dumps(manifest | {"format": 2}))
    with pytest.raises(Unreadable, match="has format 2; this release reads 1"):
        load(lab, folder, lab.embedded())


@pytest.mark.parametrize("damage", ["cut", "text", "other", "compressed"])
def test_a_tar_that_is_none(lab, sound, damage):
    """Cut off, something else, a tar of something else, compressed: each is told, with the file's name."""
    tar = lab.folder / "some.tar"
    with tarfile.open(tar, "w:gz" if damage == "compressed" else "w") as packed:
        if damage != "other":
            for path in sorted(sound.rglob("*"), reverse=True):
                packed.add(path, arcname=str(path.relative_to(sound)), recursive=False)
    if damage == "cut":
        tar.write_bytes(tar.read_bytes()[:5000])
    if damage == "text":
        tar.write_text("hello")
    target = lab.embedded()
    with pytest.raises(Unreadable, match=r"some\.tar"):
        load(lab, tar, target)
    assert target.names() == []


def test_a_name_that_leads_out_of_the_dump_is_no_index(lab, sound):
    """A manifest is somebody's file: its names are checked as any other's."""
    folder, target = lab.folder / "hostile", lab.embedded()
    shutil.copytree(sound, folder)
    manifest = orjson.loads((folder / "dump.json").read_bytes())
    manifest["indexes"]["../../x"] = {"documents": 0, "checksum": ""}
    (folder / "dump.json").write_bytes(orjson.dumps(manifest))
    with pytest.raises(Unreadable, match=r"dump\.json is damaged"):
        load(lab, folder, target)


def test_two_at_once(lab):
    """Of two moves that share a folder, the second is refused: they would undo each other's notes."""
    from searchapi.moving.memory import alone

    entered = threading.Event()
    with alone(lab.folder), pytest.raises(Conflict, match="under way"), alone(lab.folder):
        entered.set()
    assert not entered.is_set()
