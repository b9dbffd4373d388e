"""What every route must declare: who may call it, what that costs, where it is documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from searchapi import guard
from searchapi.app import create_app
from searchapi.config import Settings
from searchapi.keystore import SCOPES

DOCS = Path(__file__).parents[2] / "docs"
OPEN = {"health.health", "health.ready"}  # what answers without a key, wherever it runs


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    return create_app(Settings(data_dir=tmp_path_factory.mktemp("data")))


def routes(app):
    return [(rule, app.view_functions[rule.endpoint].guard) for rule in app.url_map.iter_rules()]


def test_every_route_has_a_guard(app):
    """Everything but health needs a scope, everything but health costs something, and only that needs no turn."""
    assert len(routes(app)) > 20
    for rule, declared in routes(app):
        open_to_all = rule.endpoint in OPEN
        assert bool(declared.scopes) != open_to_all, rule
        assert set(declared.scopes) <= set(SCOPES), rule
        assert (declared.cost == 0) == open_to_all, rule


def test_writes_take_a_write_turn(app):
    """What changes something is never in the way of what reads, and needs more than `search`."""
    for rule, declared in routes(app):
        changes = rule.methods & {"PUT", "PATCH", "DELETE"} or (rule.methods & {"POST"} and rule.endpoint != "search.search_post")
        assert (declared.turn == "write") == bool(changes), rule
        if changes:
            assert "search" not in declared.scopes and "metrics" not in declared.scopes, rule


def test_a_route_without_a_guard_stops_the_start():
    """Forgetting it cannot leave a door open."""
    from flask import Flask

    app = Flask("test", static_folder=None)
    app.add_url_rule("/x", "forgotten", lambda: "")
    with pytest.raises(LookupError, match="forgotten"):
        guard.init_app(app)


def test_an_unknown_scope_is_a_mistake():
    """A scope is one of the table."""
    with pytest.raises(ValueError, match="serach"):
        guard.guard("serach")


def documented() -> dict[tuple[str, str], tuple[set[str], int]]:
    """{(method, address): (scopes, cost)} as the table of docs/api.md has it."""
    found = {}
    for row in re.finditer(r"^\| `([A-Z ]+) (/\S*)` \| ([^|]*) \| (\d+) \| [^|]+ \|$", (DOCS / "api.md").read_text(), re.MULTILINE):
        for method in row[1].split():
            found[method, row[2]] = (set(re.findall(r"`([a-z:]+)`", row[3])), int(row[4]))
    return found


def test_the_docs_say_the_same(app):
    """docs/api.md names each method and address with its scopes and cost, and nothing else."""
    declared = {
        (method, re.sub(r"<(?:segment:)?(\w+)>", r"{\1}", rule.rule)): (set(known.scopes), known.cost)
        for rule, known in routes(app)
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert documented() == declared
