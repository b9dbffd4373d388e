"""`dump` and `load`: all data in files that any engine reads."""

from __future__ import annotations

from pathlib import Path

import click

from .. import config
from .migrate import tell, told


@click.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--index", "indexes", multiple=True, help="Only this index; may be repeated.")
def dump(output: Path, indexes: tuple[str, ...]) -> int:
    """Write documents, settings, aliases and keys to OUTPUT: a folder, or one file where it ends in .tar.

    The server may go on answering and writing. What is there already is not overwritten.
    """
    from ..moving import dumping, ends, moves

    with ends.opened(config.load(), receives=False) as source:
        lines = dumping.dump(source, moves.chosen(source, indexes), output, tell)
    for line in lines:
        click.echo(line)
    click.echo(f"Dumped to {output}. It holds the digests of keys: keep it as safe as the data.")
    return 0


@click.command()
@click.argument("dump", metavar="DUMP", type=click.Path(exists=True, path_type=Path))
@click.option("--index", "indexes", multiple=True, help="Only this index; may be repeated.")
@click.option("--overwrite", is_flag=True, help="Delete what is there under these names.")
def load(dump: Path, indexes: tuple[str, ...], overwrite: bool) -> int:
    """Read what `dump` wrote, with whichever engine, into the engine of ENGINE_URL, and compare.

    Run it again to go on after an interruption.
    """
    from ..moving import ends, loading, moves
    from ..moving.memory import alone

    settings = config.load()
    with loading.opened(dump) as source, alone(settings.data_dir), ends.opened(settings, receives=True) as target:
        names = {name: name for name in moves.chosen(source, indexes)}
        report = moves.move(source, target, names, settings.data_dir, tell, overwrite=overwrite)
    return told(report, f"Loaded {dump}: this engine is the one that ENGINE_URL names.")
