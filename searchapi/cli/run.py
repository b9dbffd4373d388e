"""`run`: the development server, Gunicorn and the indexer under one parent."""

from __future__ import annotations

import errno
import http.client
import os
import shlex
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

import click

from .. import config, demo
from ..config import Settings
from ..exceptions import IndexNotFound
from ..model import Operation
from ..supervise import ChildEnded, Supervisor
from .common import Workplace, workplace


@click.command()
@click.option(
    "--demo", "with_demo", is_flag=True, help="First index the Python standard library's documentation, if it is not yet."
)
def run(with_demo: bool) -> int:
    """Serve on HOST:PORT until Ctrl-C or SIGTERM: Gunicorn and the indexer. Ends when either does."""
    settings = config.load()
    config.require_safe(settings)
    for check in config.checks(settings):
        if not check.ok:
            raise click.ClickException(f"{check.name}: {check.detail}.")
    listener = listen(settings)  # held from here on: the port cannot be lost while documents are collected
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    with workplace() as w:
        if with_demo:
            prepare_demo(w)
        return serve(w, listener, with_demo)


def interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def address(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.port}"


def listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        port, reason = settings.port, (error.strerror or str(error)).lower()
        if error.errno == errno.EADDRINUSE:
            other = port + 1 if port < 65535 else port - 1
            raise click.ClickException(f"port {port} is busy; stop what uses it, or start with PORT={other}") from None
        if error.errno == errno.EACCES:
            raise click.ClickException(f"port {port} needs root; start with PORT=8000") from None
        raise click.ClickException(f"cannot listen on {address(settings)}: {reason}; set HOST and PORT") from None


# ---------------------------------------------------------------------------------------------------------------- demo


def prepare_demo(w: Workplace) -> None:
    """Collect and write the demonstration's documents, all in one transaction: they are there whole or not at all."""
    try:
        if w.engine.stats(demo.INDEX).documents:
            return
    except IndexNotFound:
        w.engine.create_index(demo.INDEX, demo.SETTINGS)
    documents = collect()
    w.engine.write(demo.INDEX, [Operation("put", item["id"], item, i) for i, item in enumerate(documents)])
    click.echo(f"Indexing {len(documents):,} documents as {demo.INDEX!r}")


def collect() -> list[dict]:
    label = "Collecting the documentation of Python's standard library"
    if not sys.stdout.isatty():
        click.echo(label)
    with click.progressbar(length=1, label=label, hidden=not sys.stdout.isatty(), show_eta=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        try:
            return list(demo.collect(progress))
        except RuntimeError as error:
            raise click.ClickException(str(error)) from None


# -------------------------------------------------------------------------------------------------------------- serving


def serve(w: Workplace, listener: socket.socket, with_demo: bool) -> int:
    python = [sys.executable, "-m"]
    fd = listener.fileno()
    gunicorn = [*python, "gunicorn", "-c", "python:searchapi.gunicorn_conf", "--bind", f"fd://{fd}", "searchapi.wsgi:app"]
    try:
        with Supervisor() as children:
            children.start("indexer", [*python, "searchapi", "indexer"])
            children.start("server", gunicorn, pass_fds=[fd])
            listener.close()  # theirs now: it must not go on listening when they have ended
            if children.wait(lambda: is_ready(w.settings)) and with_demo:
                seq = w.engine.stats(demo.INDEX).seq
                children.wait(lambda: w.engine.wait(demo.INDEX, seq, 0))
            if not children.stopped.is_set():
                announce(address(w.settings), with_demo)
            children.wait()
    except ChildEnded as error:
        raise click.ClickException(f"{error}, so everything was stopped; what it said is above") from None
    click.echo("Stopped.")
    return 0


def is_ready(settings: Settings) -> bool:
    connection = http.client.HTTPConnection(settings.host, settings.port, timeout=2)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def announce(where: str, with_demo: bool) -> None:
    click.echo(f"Serving on http://{where} until Ctrl-C.")
    if with_demo:
        base = f"http://{where}/v1/indexes/{demo.INDEX}"
        click.echo("Try, in another terminal:\n")
        for example in EXAMPLES:
            click.echo(f"  curl '{base}/{example}'")
        click.echo()
    click.echo(f"To write documents of your own, make a key; README.md shows what to do with it:\n\n  {key_command()}\n")


def key_command() -> str:
    """What makes a key for this data folder, as it is typed in the folder where this was started."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    given = {name: text for name in ("DATA_DIR", "ENGINE_URL") if (text := os.environ.get(name))}
    shown = {name: "…" if name == "ENGINE_URL" and "@" in text else shlex.quote(text) for name, text in given.items()}  # a password
    settings = "".join(f"{name}={text} " for name, text in shown.items())
    return f"KEY=$({settings}{shlex.quote(str(python))} -m searchapi keys create --admin --quiet)"


EXAMPLES = (
    "search?q=split+path+and+extension&limit=3&fields=id,summary",
    "search?q=tempfle&limit=3&fields=id&highlight=name,summary&highlight_format=html",
    "search?q=parse+json&filter=kind%3Dfunction&facets=module&limit=3&fields=id,signature",
)
