"""API keys: made, listed, changed, rotated and revoked. The key itself is answered once, when it is made or rotated."""

from __future__ import annotations

import time

from flask import Blueprint, Response, request

from .. import logs, serialise
from ..auth import grant
from ..exceptions import Invalid
from ..guard import guard
from ..incoming import JSON, MERGE_PATCH, flag, json_object, member, parameters
from ..keyinput import MEMBERS, parse_key
from ..model import Key
from ..services import services
from ..wording import shown

bp = Blueprint("keys", __name__, url_prefix="/v1/keys")


def _now() -> str:
    return logs.timestamp(time.time())


def _with_key(key: Key, text: str, status: int = 200) -> Response:
    """No cache may keep it."""
    headers = {"Cache-Control": "no-store"}
    if status == 201:
        headers["Location"] = f"/v1/keys/{key.id}"
    return serialise.answer({"key": text, **serialise.key(key)}, status, headers)


@bp.get("")
@guard("keys:admin")
def list_keys() -> Response:
    """`all=true`: the revoked ones too."""
    everything = flag(parameters("all"), "all")
    found = services().keys.list(grant())
    return serialise.answer({"keys": [serialise.key(key) for key in found if everything or not key.revoked_at]})


@bp.post("")
@guard("keys:admin", turn="write")
def create_key() -> Response:
    parameters()
    body = json_object(members=MEMBERS)
    member(body, "scopes", '{"scopes": ["search"], "indexes": ["books"]}')
    now = _now()
    members = {"indexes": None} | parse_key(body, now)
    key, text = services().keys.create(now=now, by=grant(), **members)
    return _with_key(key, text, 201)


@bp.get("/<segment:id>")
@guard("keys:admin")
def get_key(id: str) -> Response:
    parameters()
    return serialise.answer(serialise.key(services().keys.get(id, grant())))


@bp.patch("/<segment:id>")
@guard("keys:admin", turn="write")
def change_key(id: str) -> Response:
    """A JSON Merge Patch (RFC 7396): what is left out stays, null takes an expiry or a limit away."""
    parameters()
    members = parse_key(json_object(JSON, MERGE_PATCH, members=MEMBERS), _now())
    return serialise.answer(serialise.key(services().keys.change(id, members, grant())))


@bp.delete("/<segment:id>")
@guard("keys:admin", turn="write")
def revoke_key(id: str) -> Response:
    """It is refused from now on; its record stays."""
    parameters()
    services().keys.revoke(id, _now(), grant())
    return serialise.nothing()


@bp.post("/<segment:id>/rotate")
@guard("keys:admin", turn="write")
def rotate_key(id: str) -> Response:
    """`{"overlap": 3600}`: the old secret is valid for so many seconds more. Without a body, for none."""
    parameters()
    overlap = json_object(members=("overlap",)).get("overlap", 0) if _has_body() else 0
    if type(overlap) is not int:
        raise Invalid.at("/overlap", "wrong_type", f"Expected a number of seconds, as 3600; got {shown(overlap)}.")
    return _with_key(*services().keys.rotate(id, overlap, _now(), grant()))


def _has_body() -> bool:
    return bool(request.content_length) or "HTTP_TRANSFER_ENCODING" in request.environ
