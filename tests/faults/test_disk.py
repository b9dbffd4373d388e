"""A disk that is full, and one that turns read-only. Each on a small filesystem of its own, so it needs root and mount."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .support import Ledger, Site, Writer, assert_whole, create, eventually, writing

pytestmark = pytest.mark.slow

SIZE = 48  # MiB of each filesystem


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.stderr.strip())


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """`mounted("tmpfs")` or `mounted("ext4")`: the folder where it is; skips where this machine cannot."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def on(kind: str) -> Path:
        if os.geteuid() != 0:
            pytest.skip("mounting a filesystem needs root")
        try:
            if kind == "tmpfs":
                mount("-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", str(folder))
            else:
                image = tmp_path / "image"
                with image.open("wb") as file:
                    file.truncate(SIZE << 20)
                subprocess.run([shutil.which("mkfs.ext4") or "/sbin/mkfs.ext4", "-q", "-F", str(image)], check=True)
                mount("-o", "loop", str(image), str(folder))
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no {kind} can be mounted here: {error}")
        return folder

    yield on
    if folder.is_mount():
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def disk_site(mounted, tmp_path) -> Iterator[Callable[..., Site]]:
    """A site whose data are on a filesystem of their own, its log elsewhere; ended before the filesystem is unmounted."""
    sites: list[Site] = []

    def on(kind: str, **environment: str) -> Site:
        sites.append(Site(mounted(kind) / "data", tmp_path, **environment))
        return sites[-1]

    yield on
    for site in sites:
        site.__exit__()


def fill(folder: Path, leave: int = 0) -> Path:
    """Fill the disk but for about `leave` bytes; 0 is to the last one."""
    path = folder / "filler"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for chunk in (1 << 16, 4096, 1):
            with contextlib.suppress(OSError):
                while not leave or shutil.disk_usage(folder).free > leave + chunk:
                    os.write(descriptor, b"x" * chunk)
    finally:
        os.close(descriptor)
    return path


def refusals(writers: list[Writer], code: str) -> list:
    return [a for w in writers for a in w.refusals if a.status == 503 and a.body["code"] == code]


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_full_disk(disk_site, seed: int, kind: str):
    """Filled at random moments: writers are told 503 storage_full and when to come back, nothing acknowledged is lost, nothing
    refused is there, searches go on, and when there is room again writing and indexing do too, by themselves."""
    site, chance = disk_site(kind), random.Random(seed)
    indexer, server = site.indexer(), site.server()
    client, searched = site.client(), 0
    create(client, "books")
    client.must("PUT", "/v1/indexes/books/documents/first?refresh=wait_for", {"id": "first", "n": -1, "text": "first"})
    with writing(site, "books", seed, count=3, padding=2000) as writers:
        for round in range(4):
            time.sleep(chance.uniform(0.3, 1.5))
            filler = fill(site.data.parent, leave=chance.choice([0, 0, 20_000, 200_000]))
            told = len(refusals(writers, "storage_full"))
            eventually(
                lambda told=told: len(refusals(writers, "storage_full")) > told + 3, "writers are told that the disk is full"
            )
            for _ in range(10):
                answer = client.ask("GET", "/v1/indexes/books/search?q=first&limit=1")
                assert answer is not None and answer.status == 200 and answer.body["total"] == 1, answer
                searched += 1
                time.sleep(0.05)
            if round == 2:  # what starts on a full disk
                indexer.kill()
                indexer = site.indexer()
                time.sleep(2)
                assert client.must("GET", "/v1/indexes/books/search?q=first&limit=1")["total"] == 1
            before = sum(w.ledger.writes for w in writers)
            filler.unlink()
            eventually(lambda before=before: sum(w.ledger.writes for w in writers) > before + 5, "writing goes on by itself")
    assert indexer.running and server.running
    full = refusals(writers, "storage_full")
    assert all(int(answer.headers["retry-after"]) > 0 and "full" in answer.body["detail"] for answer in full)
    others = {(a.status, a.body["code"]) for w in writers for a in w.refusals if a not in full}
    assert others <= {(404, "document_not_found")}, others
    ledger = Ledger({"first": {"id": "first", "n": -1, "text": "first"}})
    there = assert_whole(client, "books", [*(w.ledger for w in writers), ledger])
    writes = sum(w.ledger.writes for w in writers)
    print(f"{kind}: {writes} writes acknowledged, {len(full)} refused as storage_full; {searched} searches; {there} documents")


def test_a_disk_that_turns_read_only(disk_site, seed: int):
    """ext4 gives up writing, as it does after an error of the disk: who runs goes on reading, writers are told, the log says why,
    and a restart says in a line why it cannot. Mounted anew, all is well."""
    site = disk_site("ext4", WORKERS="1")  # one, so that it is known to have the index open
    site.indexer()
    server = site.server()
    client = site.client()
    create(client, "books")
    with writing(site, "books", seed, count=2) as writers:
        time.sleep(3)
        assert client.must("GET", "/v1/indexes/books/search?limit=5")["total"] > 0
    ledgers = [w.ledger for w in writers]
    # Nobody writes at this moment: Linux 6.18 says yes to an fsync under way in an abort and keeps nothing of it (in 11 of 40
    # rounds of a bare loop of write and fsync).
    mount("-o", "remount,abort", str(site.data.parent))
    with writing(site, "books", seed + 1, count=2) as late:
        eventually(lambda: len(refusals(late, "store_unwritable")) > 5, "writers are told")
        for _ in range(20):
            assert client.must("GET", "/v1/indexes/books/search?limit=5")["total"] > 0
    others = {(a.status, a.body["code"]) for w in (*writers, *late) for a in w.refusals}
    assert others <= {(503, "store_unwritable"), (404, "document_not_found")}, others
    assert not any(document for w in late for document in w.ledger.acknowledged.values())
    documents = client.export("books")
    for ledger in ledgers:
        ledger.check(documents)
    for n in range(20):
        assert client.status("GET", "/v1/indexes/books/search?limit=5") == 200
        some = sorted(documents)[n * 3]
        assert client.must("GET", f"/v1/indexes/books/documents/{some}") == documents[some]
    assert client.status("GET", "/health") == 200
    assert server.running
    _refuses_to_start(site, "run")
    site.__exit__()
    _mount_anew(site.data.parent)
    again = Site(site.data, site.logs)
    with again:
        again.indexer()
        again.server()
        client = again.client()
        there = assert_whole(client, "books", ledgers)
        client.must("PUT", "/v1/indexes/books/documents/new?refresh=wait_for", {"id": "new", "n": 1})
        print(f"{there} documents, all as acknowledged, after {sum(ledger.writes for ledger in ledgers)} writes")


def _mount_anew(folder: Path) -> None:
    image = folder.parent / "image"
    subprocess.run(["umount", str(folder)], check=True)
    mended = subprocess.run([shutil.which("fsck.ext4") or "/sbin/fsck.ext4", "-fy", str(image)], capture_output=True, text=True)
    assert mended.returncode <= 1, mended.stdout
    mount("-o", "loop", str(image), str(folder))


def test_a_read_only_disk_before_the_start(disk_site):
    """Nothing starts on it, with a line that says why; nothing has to be mended once it can be written again."""
    site = disk_site("ext4")
    with site:
        site.indexer()
        site.server()
        client = site.client()
        create(client, "books")
        client.must("PUT", "/v1/indexes/books/documents/a?refresh=wait_for", {"id": "a", "n": 1})
    mount("-o", "remount,ro", str(site.data.parent))
    _refuses_to_start(site, "run")
    _refuses_to_start(site, "indexer")
    mount("-o", "remount,rw", str(site.data.parent))
    with Site(site.data, site.logs) as again:
        again.indexer()
        again.server()
        assert again.client().must("GET", "/v1/indexes/books/search")["total"] == 1


def _refuses_to_start(site: Site, command: str) -> None:
    """Ends by itself, with one line that names the folder and says what is wrong with it."""
    logs = site.logs / command
    logs.mkdir(exist_ok=True)
    with Site(site.data, logs) as other:
        assert other.start("-m", "searchapi", command).wait() != 0
        said = other.said().strip()
    assert len(said.splitlines()) == 1, said
    assert str(site.data) in said and "read-only" in said, said
