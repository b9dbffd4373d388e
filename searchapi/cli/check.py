"""`check`: every setting and its verdict, and whether what they name is there."""

from __future__ import annotations

import json
import re
from typing import Any

import click

from .. import config
from ..config import Check, Settings
from ..engines import is_there, open_engine
from ..engines.opensearch.target import Target
from ..exceptions import Invalid, SearchAPIError
from ..keystore import KeyStore
from ..secretkey import secret_key
from .common import one_line, table

REDIS_TIMEOUT = 2  # seconds
ENGINE_TIMEOUT = 5


@click.command()
@click.option("--quiet", "-q", is_flag=True, help="Only what is not ok.")
def check(quiet: bool) -> int:
    """Show every setting and its verdict, then whether the data folder, the engine, its keys and Redis can be used. Exits with 1
    where the server must not start so."""
    settings = config.load()
    found = config.checks(settings)
    if all(c.ok for c in found):
        found += [*engine_check(settings), *keys_check(settings), *redis_check(settings)]
    shown = [(c.level, c.name, c.detail) for c in found if not quiet or c.level != "ok"]
    for line in table(shown) if shown else ():
        click.echo(line)
    refused = [c for c in found if not c.ok]
    if refused:
        click.echo(f"searchapi: refused: {', '.join(dict.fromkeys(c.name for c in refused))}", err=True)
    return 1 if refused else 0


def engine_check(settings: Settings) -> list[Check]:
    """Of OpenSearch: whether each node answers, which version it is, and whether all are of one cluster."""
    if settings.engine_url == "embedded:":
        return []
    from ..engines.opensearch import nodes  # here: every command would wait for it

    found, clusters = [], set()
    try:
        known = nodes.Nodes(Target.parse(settings.engine_url), 1)
    except Invalid as error:  # a file of TLS
        return [Check("OpenSearch", "error", one_line(error))]
    for node in known:
        try:
            status, said = node.send("GET", "/", None, nodes.JSON, ENGINE_TIMEOUT, ENGINE_TIMEOUT)
            found.append(_of_node(node.name, status, json.loads(said) if status == 200 else {}, clusters))
        except (nodes.Unsent, nodes.Broken, nodes.Late) as error:
            found.append(Check("OpenSearch", "warning", f"does not answer: {one_line(error)}"))
        except (ValueError, TypeError, KeyError):
            found.append(Check("OpenSearch", "error", f"is something else: {node.name}"))
    known.close()
    if len(clusters) > 1:
        found.append(Check("OpenSearch", "error", "the hosts of ENGINE_URL are of different clusters"))
    return found


def _of_node(name: str, status: int, said: dict[str, Any], clusters: set[str]) -> Check:
    """Raises KeyError and TypeError where it says nothing that an OpenSearch would."""
    if status in (401, 403):
        return Check("OpenSearch", "error", f"refuses the user and password of ENGINE_URL: {name}")
    if status != 200:
        return Check("OpenSearch", "warning", f"answers {status}: {name}")
    clusters.add(said["cluster_uuid"])
    number = said["version"]["number"]
    if said["version"].get("distribution") != "opensearch" or not re.match(r"2\.(19|[2-9]\d)\.|[3-9]\.", number):
        return Check("OpenSearch", "warning", f"at {name} is {number}, but needs to be OpenSearch 2.19 or later")
    return Check("OpenSearch", "ok", f"{number} answers at {name}")


def keys_check(settings: Settings) -> list[Check]:
    """Nothing where no data was kept yet: none is made."""
    try:
        if not is_there(settings):
            return []
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
