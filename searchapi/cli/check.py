"""`check`: every setting and its verdict, and whether what they name is there."""

from __future__ import annotations

import click

from .. import config
from ..config import Check, Settings
from ..engines import is_there, open_engine
from ..exceptions import SearchAPIError
from ..keystore import KeyStore
from ..secretkey import secret_key
from .common import one_line, table

REDIS_TIMEOUT = 2  # seconds


@click.command()
@click.option("--quiet", "-q", is_flag=True, help="Only what is not ok.")
def check(quiet: bool) -> int:
    """Show every setting and its verdict, then whether the data folder, its keys and Redis can be used. Exits with 1 where the
    server must not start so."""
    settings = config.load()
    found = config.checks(settings)
    if all(c.ok for c in found):
        found += [*keys_check(settings), *redis_check(settings)]
    shown = [(c.level, c.name, c.detail) for c in found if not quiet or c.level != "ok"]
    for line in table(shown) if shown else ():
        click.echo(line)
    refused = [c for c in found if not c.ok]
    if refused:
        click.echo(f"searchapi: refused: {', '.join(dict.fromkeys(c.name for c in refused))}", err=True)
    return 1 if refused else 0


def keys_check(settings: Settings) -> list[Check]:
    """Nothing where no data was kept yet: none is made."""
    if not is_there(settings):
        return []
    try:
        engine, system = open_engine(settings)
    except SearchAPIError as error:
        return [Check("keys", "warning", f"cannot be read: {one_line(error)}")]
    try:
        foreign = len(KeyStore(secret_key(settings), system).foreign())
        usable = sum(not key.revoked_at for key in system.keys().values()) - foreign
    except (SearchAPIError, config.SettingsError) as error:
        return [Check("keys", "warning", f"cannot be read: {one_line(error)}")]
    finally:
        engine.close()
    if foreign:
        detail = f"{foreign} of {foreign + usable} were made with another SECRET_KEY and are refused; bring it back, or rotate them"
        return [Check("keys", "warning", detail)]
    if not usable:
        return [Check("keys", "warning", "there are none; `python -m searchapi keys create --admin` makes one")]
    return [Check("keys", "ok", f"{usable} made with this SECRET_KEY")]


def redis_check(settings: Settings) -> list[Check]:
    """Whether it does what counting needs: its user may be allowed no more than that."""
    if not settings.redis_url:
        return []
    import redis  # here: every command would wait for it

    try:
        with redis.Redis.from_url(settings.redis_url, socket_connect_timeout=REDIS_TIMEOUT, socket_timeout=REDIS_TIMEOUT) as client:
            client.script_load("return 1")
    except redis.RedisError as error:
        return [Check("Redis", "warning", f"does not answer, so each worker counts rate limits for itself: {one_line(error)}")]
    except Exception as error:  # of an option in the URL; its text may hold the password
        return [Check("Redis", "error", f"REDIS_URL cannot be used ({type(error).__name__}); is an option in it misspelt?")]
    return [Check("Redis", "ok", "answers")]
