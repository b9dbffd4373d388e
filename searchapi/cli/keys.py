"""`keys create|list|rotate|revoke|secret`. Who can run these owns the data folder, so no key bounds what they give."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from .. import config
from ..config import Settings
from ..dates import parse_date
from ..engines import open_engine, place
from ..exceptions import KeyNotFound
from ..keyinput import parse_key
from ..keystore import SCOPES, KeyStore, moment
from ..keytext import id_in
from ..model import Key
from ..secretkey import new_secret_key, secret_key
from .common import table

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


@dataclass(frozen=True, slots=True)
class Workshop:
    settings: Settings
    keys: KeyStore
    now: str


@contextmanager
def workshop() -> Iterator[Workshop]:
    """The keys of the data folder, for one command."""
    settings = config.load()
    secret = secret_key(settings)  # first: without it no folder is made either
    engine, system = open_engine(settings)
    try:
        yield Workshop(settings, KeyStore(secret, system), moment(_now_ms()))
    except KeyNotFound as error:
        raise click.ClickException(f"{error.detail} `python -m searchapi keys list --all` shows those that there are.") from None
    finally:
        engine.close()


def _now_ms() -> int:
    return int(time.time() * 1000)


class Duration(click.ParamType):
    """`90s`, `30m`, `12h`, `30d`, `4w` -> seconds."""

    name = "duration"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"([0-9]{1,9})([smhdw])", value)
        if match is None:
            self.fail(f"{value!r} is no duration: a number and s, m (minutes), h, d or w, as 12h or 30d.", param, ctx)
        return int(match[1]) * _UNITS[match[2]]


class Moment(Duration):
    """A duration from now, or an RFC 3339 time -> milliseconds since 1970."""

    name = "30d|time"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if re.fullmatch(r"[0-9]+[a-z]", value):
            return _now_ms() + super().convert(value, param, ctx) * 1000
        try:
            return parse_date(value)
        except ValueError:
            self.fail(f"{value!r} is neither a duration, as 30d or 12h, nor a time, as 2027-01-31T00:00:00Z.", param, ctx)


QUIET = click.option("--quiet", "-q", is_flag=True, help="Print the key and nothing else.")


@click.group()
def keys() -> None:
    """Make, list, rotate and revoke API keys."""


@keys.command()
@click.option("--admin", is_flag=True, help="Every scope.")
@click.option("--scope", "scopes", multiple=True, help=f"What it may do; may be repeated: {', '.join(SCOPES)}.")
@click.option("--index", "indexes", multiple=True, help="An index or alias, or how their names begin and a *; may be repeated [*].")
@click.option("--description", "-d", default="", help="Whose key it is, and what for.")
@click.option("--expires", type=Moment(), help="After this time, as 30d, or at it, as 2027-01-31T00:00:00Z [never].")
@click.option("--rate-limit", help="In units of cost, as 600/minute, or off [RATE_LIMIT_PER_KEY].")
@click.option("--rate-limit-per-ip", help="The same for each address that uses it.")
@click.option("--max-page-size", type=int, help="The most hits or documents on one page [MAX_PAGE_SIZE].")
@QUIET
def create(
    admin: bool,
    scopes: tuple[str, ...],
    indexes: tuple[str, ...],
    description: str,
    expires: int | None,
    rate_limit: str | None,
    rate_limit_per_ip: str | None,
    max_page_size: int | None,
    quiet: bool,
) -> None:
    """Make a key and print it, this once."""
    if admin == bool(scopes):
        said = "either --admin or --scope, not both" if admin else "what the key may do: --admin, or --scope search"
        raise click.UsageError(f"Say {said}.", click.get_current_context())
    with workshop() as w:
        given = {
            "description": description,
            "scopes": list(SCOPES) if admin else list(scopes),
            "indexes": list(indexes) or ["*"],
            "expires_at": expires and _writable(expires),
            "rate_limit": rate_limit,
            "rate_limit_per_ip": rate_limit_per_ip,
            "max_page_size": max_page_size,
        }
        others = about_foreign(w.keys)
        key, text = w.keys.create(now=w.now, **parse_key(given, w.now))
    click.echo(text)
    if not quiet:
        ends = f"until {key.expires_at}" if key.expires_at else "until it is revoked"
        lines = [
            "This is the key, shown only this once: keep it where secrets are kept.",
            f"It has the scopes {', '.join(key.scopes)} on the indexes {', '.join(key.indexes)} of {place(w.settings)}, {ends}.",
            f"`python -m searchapi keys revoke {key.id}` ends it.",
            *others,
        ]
        click.echo("\n".join(lines), err=True)


def _writable(ms: int) -> str:
    try:
        return moment(ms)
    except OverflowError:
        raise click.UsageError("--expires is beyond the year 9999; leave it out for a key that does not expire.") from None


def about_foreign(keys: KeyStore) -> list[str]:
    """One line where SECRET_KEY is not what it was, or not what the server has."""
    found = len(keys.foreign())
    if not found:
        return []
    which = "1 key was" if found == 1 else f"{found} keys were"
    return [f"Careful: {which} made with another SECRET_KEY than is set here. Is this the one that the server has?"]


@keys.command("list")
@click.option("--all", "everything", is_flag=True, help="The revoked ones too.")
def list_(everything: bool) -> None:
    """Show the keys: what each may do, when it was last used. Their secrets are known to nobody."""
    with workshop() as w:
        found = [key for key in w.keys.list() if everything or not key.revoked_at]
        foreign, warnings = {key.id for key in w.keys.foreign()}, about_foreign(w.keys)
    if not found:
        click.echo(f"No keys in {place(w.settings)} yet: `python -m searchapi keys create --admin` makes one.", err=True)
        return
    heading = ("ID", "STATE", "LAST USED", "SCOPES", "INDEXES", "DESCRIPTION")
    rows = [
        (
            key.id,
            "other SECRET_KEY" if key.id in foreign else _state(key, w.now),
            _short(key.last_used_at) or "never",
            _scopes(key),
            ",".join(key.indexes),
            key.description,
        )
        for key in found
    ]
    for line in table([heading, *rows]):
        click.echo(line)
    for line in warnings:
        click.echo(line, err=True)


def _state(key: Key, now: str) -> str:
    if key.revoked_at:
        return f"revoked {_short(key.revoked_at)}"
    if key.expires_at:
        return f"{'expired' if key.expires_at <= now else 'until'} {_short(key.expires_at)}"
    return "active"


def _short(time: str | None) -> str:
    return time[:16].replace("T", " ") if time else ""


def _scopes(key: Key) -> str:
    return "all" if set(key.scopes) == set(SCOPES) else ",".join(key.scopes)


@keys.command()
@click.argument("id")
@click.option("--overlap", type=Duration(), default="0s", help="How long the old secret stays valid, as 1h [not at all].")
@QUIET
def rotate(id: str, overlap: int, quiet: bool) -> None:
    """Give a key a new secret and print it, this once. ID is its id, or the whole key."""
    with workshop() as w:
        key, text = w.keys.rotate(id_in(id), overlap, w.now)
    click.echo(text)
    if not quiet:
        old = f"The old one is valid until {key.previous_until}." if overlap else "The old one is no longer valid."
        click.echo(f"This is the key from now on, shown only this once: keep it where secrets are kept. {old}", err=True)


@keys.command()
@click.argument("id")
def revoke(id: str) -> None:
    """End a key, at once and for good. ID is its id, or the whole key."""
    with workshop() as w:
        key = w.keys.revoke(id_in(id), w.now)
    click.echo(f"Revoked {key.id}{f' ({key.description})' if key.description else ''}.")


@keys.command()
def secret() -> None:
    """Print a value for SECRET_KEY. Needs no settings."""
    click.echo(new_secret_key())
