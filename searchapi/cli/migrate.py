"""`migrate`: an index and all that belongs to it from one engine to another; `--adopt` one of OpenSearch that we did not make."""

from __future__ import annotations

import click

from .. import config
from ..config import Settings


@click.command()
@click.option(
    "--from", "source", envvar="FROM_URL", help="The engine that has the data, as ENGINE_URL [FROM_URL, else ENGINE_URL]."
)
@click.option("--to", "target", envvar="TO_URL", help="The engine that gets it [TO_URL, else ENGINE_URL].")
@click.option("--index", "indexes", multiple=True, help="Only this index; may be repeated.")
@click.option("--overwrite", is_flag=True, help="Delete what the target has under these names.")
@click.option("--adopt", metavar="INDEX", help="Take over an index of OpenSearch that searchapi did not make. It is only read.")
@click.option("--as", "name", help="With --adopt: the name of the index that is made.")
@click.option("--primary-key", help="With --adopt: the field that gets the documents' _id.")
@click.option("--language", help="With --adopt: of texts whose analyzer has no language.")
def migrate(
    source: str | None, target: str | None, indexes: tuple[str, ...], overwrite: bool, adopt: str | None, **adopted: str | None
) -> int:
    """Move documents, settings, aliases and keys to another engine, while the source goes on being written to, and compare both.

    Run it again to go on after an interruption, and to take over what was written since.
    """
    from ..moving import ends, moves
    from ..moving.memory import alone

    settings = config.load()
    if source is None and target is None:
        raise click.UsageError("Say --to, the engine that gets the data, or --from, the one that has it.")
    if any(adopted.values()) and not adopt:
        raise click.UsageError("--as, --primary-key and --language belong to --adopt.")
    if adopt and indexes:
        raise click.UsageError("--adopt takes one index, and no --index.")
    to = ends.settings_of(target or settings.engine_url, settings, "--to")
    if adopt:
        return _adopt(settings, source or settings.engine_url, to, adopt, overwrite, adopted)
    came = ends.settings_of(source or settings.engine_url, settings, "--from")
    ends.refuse_same(came, to)
    with alone(settings.data_dir), ends.opened(came, receives=False) as giver, ends.opened(to, receives=True) as taker:
        names = {name: name for name in moves.chosen(giver, indexes)}
        if not names:
            raise click.ClickException(f"There are no indexes in {giver.shown}.")
        report = moves.move(giver, taker, names, settings.data_dir, tell, overwrite=overwrite)
    return told(report, next_step(settings, target, to))


def _adopt(settings: Settings, source: str, to: Settings, index: str, overwrite: bool, adopted: dict[str, str | None]) -> int:
    from ..moving import adopting, ends
    from ..moving.memory import alone

    with alone(settings.data_dir), ends.opened(to, receives=True) as taker:
        report = adopting.adopt(source, index, taker, settings.data_dir, tell, overwrite=overwrite, **adopted)
    return told(report, next_step(settings, None if to.engine_url == settings.engine_url else "", to))


def tell(line: str) -> None:
    click.echo(line, err=True)


def told(report, following: str) -> int:
    """What was done on stdout, what is wrong on stderr, and what to do next. The exit status."""
    for line in report.lines:
        click.echo(line)
    if not report.faults:
        click.echo(following)
        return 0
    for line in report.faults:
        click.echo(f"searchapi: {line}", err=True)
    click.echo("searchapi: not all is as it should be; mend what is told above, and run this again", err=True)
    return 1


def next_step(settings: Settings, target: str | None, to: Settings) -> str:
    from ..moving.ends import shown

    if target is None or (to.engine_url, to.data_dir) == (settings.engine_url, settings.data_dir):
        return "Done: this engine is the one that ENGINE_URL names."
    setting = (
        f"ENGINE_URL={shown(to)}" if to.engine_url != "embedded:" else f"ENGINE_URL=embedded: and DATA_DIR={to.data_dir.absolute()}"
    )
    login = " (with its user and password)" if "@" in to.engine_url else ""
    return f"Next: stop writing, run this once more, set {setting}{login}, and restart or `fab deploy`."
