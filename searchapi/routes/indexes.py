"""Indexes, their settings and figures."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from .. import serialise, visibility
from ..auth import grant
from ..documents import merge_patch
from ..guard import guard
from ..incoming import JSON, MERGE_PATCH, below, flag, json_object, member, parameters
from ..model import IndexInfo, IndexSettings
from ..schema import check_name, index_to_json, parse_settings, settings_to_json
from ..services import services

bp = Blueprint("indexes", __name__, url_prefix="/v1/indexes")


@bp.get("")
@guard("search", "documents:read", "documents:write", "indexes:admin")
def list_indexes() -> Response:
    parameters()
    return serialise.answer({"indexes": [_shown(info, name) for name, info in visibility.indexes()]})


@bp.post("")
@guard("indexes:admin", turn="write")
def create_index() -> Response:
    parameters()
    body = json_object(members=("name", "settings"))
    name = visibility.may_make(check_name(member(body, "name", '{"name": "books"}')))
    with below("/settings"):
        settings = parse_settings(body.get("settings", {}), max_fields=services().settings.max_fields)
    info = services().create_index(name, settings)
    return serialise.answer(index_to_json(info), 201, {"Location": f"/v1/indexes/{info.name}"})


@bp.get("/<segment:index>")
@guard("search", "documents:read", "documents:write", "indexes:admin")
def get_index(index: str) -> Response:
    parameters()
    info = services().info(index)
    name = info.name if grant().sees(info.name) else index
    return serialise.answer(_shown(info, name))


def _shown(info: IndexInfo, name: str) -> dict[str, Any]:
    """An index by the name that the caller knows. Its settings (synonyms, stop words) are for who may read them elsewhere."""
    found = {**index_to_json(info), "name": name}
    if "indexes:admin" not in grant().scopes:
        del found["settings"]
    return found


@bp.delete("/<segment:index>")
@guard("indexes:admin", turn="write")
def delete_index(index: str) -> Response:
    parameters()
    services().engine.delete_index(index)
    return serialise.nothing()


@bp.get("/<segment:index>/stats")
@guard("documents:read", "documents:write", "indexes:admin", "metrics")
def get_stats(index: str) -> Response:
    parameters()
    return serialise.answer(serialise.stats(services().engine.stats(services().info(index).name)))


@bp.get("/<segment:index>/settings")
@guard("indexes:admin")
def get_settings(index: str) -> Response:
    parameters()
    return serialise.answer(settings_to_json(services().info(index).settings))


@bp.put("/<segment:index>/settings")
@guard("indexes:admin", turn="write")
def replace_settings(index: str) -> Response:
    """Every setting that is left out becomes its default."""
    dry_run = flag(parameters("dry_run"), "dry_run")
    info = services().info(index)
    return _change(info, parse_settings(json_object(), max_fields=_most_fields(info)), dry_run)


@bp.patch("/<segment:index>/settings")
@guard("indexes:admin", turn="write")
def change_settings(index: str) -> Response:
    """A JSON Merge Patch (RFC 7396): what is left out stays, null brings the default back."""
    dry_run = flag(parameters("dry_run"), "dry_run")
    info = services().info(index)
    merged = merge_patch(settings_to_json(info.settings), json_object(JSON, MERGE_PATCH))
    return _change(info, parse_settings(merged, max_fields=_most_fields(info)), dry_run)


def _most_fields(info: IndexInfo) -> int:
    """An index that has more fields than MAX_FIELDS says by now can be changed all the same, but gets no more of them."""
    return max(services().settings.max_fields, len(info.settings.fields) + 1)


def _change(info: IndexInfo, settings: IndexSettings, dry_run: bool) -> Response:
    change = services().engine.update_settings(info.name, settings, dry_run)
    return serialise.answer(*serialise.settings_change(change))
