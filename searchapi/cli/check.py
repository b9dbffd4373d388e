"""`check`: every setting and its verdict."""

from __future__ import annotations

import click

from .. import config
from .common import table


@click.command()
@click.option("--quiet", "-q", is_flag=True, help="Only what is not ok.")
def check(quiet: bool) -> int:
    """Show every setting and its verdict. Exits with 1 where the server must not start so."""
    found = config.checks(config.load())
    shown = [(c.level, c.name, c.detail) for c in found if not quiet or c.level != "ok"]
    for line in table(shown) if shown else ():
        click.echo(line)
    refused = [c for c in found if not c.ok]
    if refused:
        click.echo(f"searchapi: refused: {', '.join(dict.fromkeys(c.name for c in refused))}", err=True)
    return 1 if refused else 0
