"""`rebuild`: the search index anew from the documents."""

from __future__ import annotations

import time

import click

from .common import counted, workplace


@click.command()
@click.argument("index")
@click.option("--wait", is_flag=True, help="Return when it is done.")
@click.option("--timeout", default=600.0, show_default=True, help="Seconds that --wait waits.")
def rebuild(index: str, wait: bool, timeout: float) -> None:
    """Build INDEX anew from its documents, beside the one that goes on answering. The indexer does the work."""
    with workplace() as w:
        name = w.info(index).name
        w.engine.rebuild(name)
        if not wait:
            click.echo(f"Rebuilding {name}.")
            return
        end = time.monotonic() + timeout
        while w.engine.stats(name).rebuilding:
            if time.monotonic() > end:
                raise click.ClickException(f"{name} was not rebuilt within {timeout:g} s; is the indexer running?")
            time.sleep(0.1)
        click.echo(f"Rebuilt {name}: {counted(w.engine.stats(name).documents)}.")
