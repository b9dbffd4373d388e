"""`import` and `export`: documents from and to files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import BinaryIO

import click

from ..exceptions import IndexNotFound
from ..keystore import KeyStore
from ..ndjson import ReadLimits, read_documents
from ..secretkey import secret_key
from ..writes import CHUNK_OPERATIONS, REPORTED, Batch
from .common import Workplace, counted, workplace
from .reading import Source
from .resume import Progress

ANY_NUMBER = 1 << 62
MAX_JSON_BYTES = 1 << 30  # an array is decoded as a whole; NDJSON is not


@click.command("import")
@click.argument("index")
@click.argument("file", default="-")
@click.option("--primary-key", help="The field that holds a document's id, where INDEX is created [id].")
@click.option("--resume", is_flag=True, help="Go on after what an interrupted import of the same FILE has written.")
@click.option("--wait", is_flag=True, help="Return when searches see the documents.")
@click.option("--timeout", default=600.0, show_default=True, help="Seconds that --wait waits.")
def import_(index: str, file: str, primary_key: str | None, resume: bool, wait: bool, timeout: float) -> int:
    """Write the documents of FILE (a JSON array or NDJSON; - is stdin) to INDEX, which is created where it is missing.

    A document whose id is there already replaces it. One that is refused is reported; the others are kept.
    """
    if file == "-" and resume:
        raise click.UsageError("--resume needs a file: what came from stdin cannot be read again.")
    started = perf_counter()
    with opened(file) as stream, workplace() as w:
        name = w.system.resolve(index)
        progress = Progress(w.settings.data_dir, name, None if file == "-" else Path(file))
        first = progress.load(uid_of(w, name)) if resume else 0
        source = Source(stream)
        batch = write_all(w, name, source, primary_key, first, progress)
        for refused in batch.errors:
            place = "" if refused.detail.startswith("Line ") else f"{source.place(refused.position)}: "
            click.echo(f"{file}: {place}{refused.detail}", err=True)
        click.echo(summary(batch, name, first, perf_counter() - started))
        if wait and batch.seq is not None and not w.engine.wait(name, batch.seq, timeout):
            raise click.ClickException(f"Searches did not see the documents within {timeout:g} s; is the indexer running?")
    return 1 if batch.refused else 0


@contextmanager
def opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
    else:
        with Path(file).open("rb") as stream:
            yield stream


def uid_of(w: Workplace, name: str) -> str | None:
    try:
        return w.engine.index(name).uid
    except IndexNotFound:
        return None


def write_all(w: Workplace, name: str, source: Source, primary_key: str | None, first: int, progress: Progress) -> Batch:
    """Write what stands from position `first` on, and remember after every chunk how far it is."""
    from ..search import SearchService
    from ..services import Services

    keys = KeyStore(secret_key(w.settings), w.system)
    services = Services(w.settings, w.engine, w.system, keys, SearchService(w.engine, w.settings.limits))
    limits = ReadLimits(w.settings.max_document_bytes, ANY_NUMBER, MAX_JSON_BYTES)
    items = islice(read_documents(source, source.content_type, limits), first, None)
    whole, done = Batch(), first
    try:
        with progress_bar(source) as bar:
            while chunk := list(islice(items, CHUNK_OPERATIONS)):
                written = services.write_many(name, "put", chunk, primary_key, may_create=True)
                merge(whole, written)
                if uid := uid_of(w, name):
                    done = chunk[-1][0] + 1
                    progress.save(uid, done)
                bar.update(source.read_bytes - bar.pos)
    except BaseException:
        if done > first:
            again = "--resume goes on from there" if progress.remembers else "sending all again does no harm"
            click.echo(f"searchapi: stopped after {counted(done)}; {again}", err=True)
        raise
    progress.forget()
    return whole


def progress_bar(source: Source):
    size = source.size
    return click.progressbar(length=size or 0, label="Importing", file=sys.stderr, hidden=not (size and sys.stderr.isatty()))


def merge(whole: Batch, part: Batch) -> None:
    whole.accepted += part.accepted
    whole.refused += part.refused
    whole.errors += part.errors[: REPORTED - len(whole.errors)]
    whole.seq = part.seq if part.seq is not None else whole.seq


def summary(batch: Batch, name: str, first: int, seconds: float) -> str:
    text = f"Imported {counted(batch.accepted)} into {name} in {seconds:.1f} s"
    if first:
        text += f", after the first {first:,}"
    if batch.refused:
        text += f"; {batch.refused:,} refused"
    return f"{text}."


@click.command()
@click.argument("index")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="The file to write [stdout].")
def export(index: str, output: Path | None) -> None:
    """Write all documents of INDEX as NDJSON, in the order of their ids."""
    with workplace() as w:
        documents = w.engine.scan(w.info(index).name)
        if output is None:
            for document in documents:
                sys.stdout.buffer.write(document.body + b"\n")
            sys.stdout.buffer.flush()
            return
        # Under another name until it is whole, so that what is there is never half an export.
        partial = output.with_name(f".{output.name}.{os.getpid()}")
        try:
            with partial.open("wb") as file:
                count = sum(1 for document in documents if file.write(document.body + b"\n"))
            partial.replace(output)
        except OSError as error:
            raise click.ClickException(f"{output}: {error.strerror or error}") from None
        finally:
            partial.unlink(missing_ok=True)
    click.echo(f"Exported {counted(count)} to {output}.")
