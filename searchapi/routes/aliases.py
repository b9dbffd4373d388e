"""Aliases: names that point at an index. Swapping one is atomic."""

from __future__ import annotations

from flask import Blueprint, Response

from .. import serialise, visibility
from ..exceptions import Invalid
from ..guard import guard
from ..incoming import json_kind, json_object, member, parameters
from ..services import services

bp = Blueprint("aliases", __name__, url_prefix="/v1/aliases")


@bp.get("")
@guard("indexes:admin")
def list_aliases() -> Response:
    parameters()
    return serialise.answer({"aliases": visibility.aliases()})


@bp.get("/<segment:alias>")
@guard("indexes:admin")
def get_alias(alias: str) -> Response:
    parameters()
    return serialise.answer(visibility.alias(alias))


@bp.put("/<segment:alias>")
@guard("indexes:admin", turn="write")
def set_alias(alias: str) -> Response:
    parameters()
    index = member(json_object(members=("index",)), "index", '{"index": "books-2"}')
    if not isinstance(index, str):
        raise Invalid.at("/index", "wrong_type", f"Expected the name of an index, got {json_kind(index)}.")
    services().set_alias(alias, visibility.must_see(index))
    return serialise.answer({"name": alias, "index": index})


@bp.delete("/<segment:alias>")
@guard("indexes:admin", turn="write")
def delete_alias(alias: str) -> Response:
    parameters()
    services().system.delete_alias(alias)
    return serialise.nothing()
