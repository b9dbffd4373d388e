"""What every route declares about itself, once: who may call it, what that costs, whose turn it takes.

    @bp.get("/search")
    @guard("search")
    def search_get(index): ...

`auth.py` reads the scopes, `ratelimit.py` the cost, `admission.py` the turn. A route that declares nothing stops the start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from flask import Flask, request

from .keystore import SCOPES

Turn = Literal["read", "write", "stream"]
View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Guard:
    """scopes: any of them is enough, none means everybody. cost: of one request, in units of a search; its body costs more, by
    size. turn: which of a worker's turns it takes; None for what must be answered however busy it is."""

    scopes: tuple[str, ...]
    cost: int
    turn: Turn | None


OPTIONS = Guard((), 1, None)  # Flask's own answer to OPTIONS, a browser's preflight
NOWHERE = Guard((), 1, None)  # an address or method that there is not


def guard(*scopes: str, cost: int = 1, turn: Turn | None = "read") -> Callable[[View], View]:
    if unknown := set(scopes) - set(SCOPES):
        raise ValueError(f"there is no scope {sorted(unknown)}")

    def declare(view: View) -> View:
        view.guard = Guard(scopes, cost, turn)  # type: ignore[attr-defined]
        return view

    return declare


def init_app(app: Flask) -> None:
    """After the routes are registered. Raises LookupError for one that declares no guard."""
    missing = sorted(name for name, view in app.view_functions.items() if not hasattr(view, "guard"))
    if missing:
        raise LookupError(f"routes without a guard: {', '.join(missing)}")
    app.extensions["guards"] = guards = {name: view.guard for name, view in app.view_functions.items()}  # type: ignore[attr-defined]
    for rule in app.url_map.iter_rules():
        rule.guard = guards[rule.endpoint]  # type: ignore[attr-defined]


def current() -> Guard:
    """The guard of the request that is being answered."""
    asked = request._get_current_object()  # every way through the proxy costs, and several guards ask with every request
    if asked.url_rule is None:
        return NOWHERE
    return OPTIONS if asked.method == "OPTIONS" else asked.url_rule.guard
