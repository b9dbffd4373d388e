"""Tasks: long work, done by the indexer."""

from __future__ import annotations

from flask import Blueprint, Response

from .. import serialise, visibility
from ..guard import guard
from ..incoming import number, parameters
from ..services import services

bp = Blueprint("tasks", __name__, url_prefix="/v1/tasks")


@bp.get("")
@guard("documents:write", "indexes:admin")
def list_tasks() -> Response:
    """The newest first."""
    given, s = parameters("index", "limit"), services()
    index = s.system.resolve(visibility.must_see(given["index"])) if "index" in given else None
    found = visibility.tasks(index, number(given, "limit", 50, 1, visibility.LONGEST_LIST))
    return serialise.answer({"tasks": [serialise.task(task) for task in found]})


@bp.get("/<segment:id>")
@guard("documents:write", "indexes:admin")
def get_task(id: str) -> Response:
    parameters()
    return serialise.answer(serialise.task(visibility.task(id)))
