"""The command line, one command group a file. It works in process on the data folder; no server needs to run."""

from __future__ import annotations

import sys

import click

from .. import __version__
from ..config import SettingsError
from ..exceptions import SearchAPIError
from . import check, dump, index, indexer, keys, migrate, rebuild, run, search, transfer
from .common import one_line

PROGRAM = "python -m searchapi"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="searchapi")
def cli() -> None:
    """searchapi: a search REST API. These commands work on the data folder that DATA_DIR names."""


for command in (
    run.run,
    indexer.indexer,
    check.check,
    index.index,
    keys.keys,
    transfer.import_,
    transfer.export,
    search.search,
    rebuild.rebuild,
    migrate.migrate,
    dump.dump,
    dump.load,
):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 it failed, 2 it was typed wrong, 130 Ctrl-C. What fails says so in one line."""
    sys.exit(outcome(arguments))


def outcome(arguments: list[str] | None = None) -> int:
    try:
        return cli.main(arguments, prog_name=PROGRAM, standalone_mode=False) or 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else PROGRAM
        return failed(f"{error.format_message()} ({path} --help tells more)", 2)
    except click.ClickException as error:
        return failed(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return failed("stopped", 130)
    except (SearchAPIError, SettingsError) as error:
        return failed(one_line(error), 1)
    except OSError as error:
        return failed(f"{error.filename or 'input or output'}: {error.strerror or error}", 1)


def failed(reason: str, status: int) -> int:
    click.echo(f"searchapi: {reason}", err=True)
    return status
