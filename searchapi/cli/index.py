"""`index list|create|delete`."""

from __future__ import annotations

import sys
from typing import BinaryIO

import click
import orjson

from ..engines import place
from ..exceptions import Unreadable
from ..model import IndexStats
from ..schema import check_name, index_to_json, parse_settings
from .common import counted, table, workplace


@click.group()
def index() -> None:
    """List, create and delete indexes."""


@index.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON, with their fields and settings.")
def list_(as_json: bool) -> None:
    """Show the indexes with their documents, size and lag behind the documents."""
    with workplace() as w:
        found = [(info, w.engine.stats(info.name)) for info in w.engine.indexes()]
    if as_json:
        indexes = [{**index_to_json(info), "documents": stats.documents} for info, stats in found]
        click.echo(orjson.dumps(indexes, option=orjson.OPT_INDENT_2))
        return
    if not found:
        click.echo(f"No indexes in {place(w.settings)} yet.", err=True)
        return
    heading = ("NAME", "DOCUMENTS", "MIB", "STATE")
    rows = [(info.name, f"{s.documents:,}", f"{s.size_bytes / (1 << 20):,.1f}", state_of(s)) for info, s in found]
    for line in table([heading, *rows], right=frozenset((1, 2))):
        click.echo(line)


def state_of(stats: IndexStats) -> str:
    if stats.rebuilding:
        return "rebuilding"
    return f"{counted(stats.lag, 'write')} behind" if stats.lag else "up to date"


@index.command()
@click.argument("name")
@click.option("--settings", "file", type=click.File("rb"), help="A JSON file with the index's settings; - reads stdin.")
@click.option("--primary-key", help="The field that holds a document's id [id].")
def create(name: str, file: BinaryIO | None, primary_key: str | None) -> None:
    """Create an empty index."""
    body = {}
    if file:
        try:
            body = orjson.loads(file.read())
        except ValueError as error:
            raise Unreadable(f"{file.name} is not JSON: {error}.") from None
    if primary_key is not None and isinstance(body, dict):
        body["primary_key"] = primary_key
    with workplace() as w:
        w.engine.create_index(check_name(name), parse_settings(body, max_fields=w.settings.max_fields))
    click.echo(f"Created {name}.")


@index.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, yes: bool) -> None:
    """Delete an index and all of its documents."""
    with workplace() as w:
        if name in w.system.aliases():
            raise click.ClickException(f"{name!r} is an alias of {w.system.resolve(name)!r}; name the index itself.")
        documents = w.engine.stats(w.info(name).name).documents
        if not yes:
            if not sys.stdin.isatty():
                raise click.UsageError(f"Deleting {name!r} needs --yes where there is no one to ask.")
            click.confirm(f"Delete {name} and its {counted(documents)}?", abort=True)
        w.engine.delete_index(name)
    click.echo(f"Deleted {name}: {counted(documents)}.")
