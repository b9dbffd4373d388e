"""Tasks: long work, done by the indexer."""

from __future__ import annotations

from flask import Blueprint, Response

from .. import serialise
from ..guard import guard
from ..incoming import number, parameters
from ..services import services

bp = Blueprint("tasks", __name__, url_prefix="/v1/tasks")


@bp.get("")
@guard("documents:write", "indexes:admin")
def list_tasks() -> Response:
    """The newest first."""
    given, s = parameters("index", "limit"), services()
    index = s.system.resolve(given["index"]) if "index" in given else None
    found = s.system.tasks(index, number(given, "limit", 50, 1, 1000))
    return serialise.answer({"tasks": [serialise.task(task) for task in found]})


@bp.get("/<segment:id>")
@guard("documents:write", "indexes:admin")
def get_task(id: str) -> Response:
    parameters()
    return serialise.answer(serialise.task(services().system.task(id)))
