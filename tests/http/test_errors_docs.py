"""docs/errors.md and the code know the same errors."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import searchapi
from searchapi import exceptions, problems

PACKAGE = Path(searchapi.__file__).parent
DOCS = PACKAGE.parent / "docs"
_CODE = re.compile(r"[a-z]+(?:_[a-z]+)*\Z")


def documented() -> dict[str, str]:
    """{code of a problem: its status in the docs}."""
    return dict(re.findall(r"^\| `([a-z_]+)` \| (\w+) \|", (DOCS / "errors.md").read_text(), re.M))


def calls():
    """(name of the called, call) of the whole package but the command line."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if "cli" not in path.parts:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield getattr(node.func, "attr", getattr(node.func, "id", "")), node


def classes(kind=exceptions.SearchAPIError):
    yield kind
    for child in kind.__subclasses__():
        yield from classes(child)


def raised() -> dict[str, int]:
    """{code of a problem: status}, from the exceptions, from `code=` where one is raised, from HTTP, and from Nginx."""
    found = {code: status for status, code in problems.HTTP_CODES.items()}
    found |= {code: status for code, (status, _) in problems.SERVER_CODES.items()}
    found |= {kind.code: problems.status_of(kind) for kind in classes()}
    for name, call in calls():
        kind = getattr(exceptions, name, None)
        for keyword in call.keywords:
            if keyword.arg == "code" and isinstance(keyword.value, ast.Constant) and isinstance(kind, type):
                found[keyword.value.value] = problems.status_of(kind)
        if name == "problem" and len(call.args) > 1 and isinstance(call.args[1], ast.Constant):
            found[call.args[1].value] = call.args[0].value
    nginx = (PACKAGE.parent / "deploy/nginx/http/problems.conf").read_text()
    found |= {code: int(status) for status, code in re.findall(r'^    (\d{3}) .*"code":"([a-z_]+)"', nginx, re.M)}
    return found


def test_codes_of_problems():
    """Every code that a problem can have is documented with its status, and no other."""
    found = {code: str(status) for code, status in raised().items()} | {"refused": "4xx"}
    assert documented() == found


def test_codes_within_errors():
    """Every code of a fault that the source spells out is documented on the page of its kind."""
    text = "".join((DOCS / page).read_text() for page in ("errors.md", "documents.md", "index-settings.md"))
    known = set(re.findall(r"`([a-z_]+)`", text))
    missing = set()
    for name, call in calls():
        if name in ("at", "fault", "Fault") and len(call.args) == 3 and isinstance(call.args[1], ast.Constant):
            code = call.args[1].value
            if isinstance(code, str) and _CODE.match(code) and code not in known:
                missing.add(code)
    assert missing - {"unknown_engine", "tls_file"} == set()  # of the settings, before anything is served


@pytest.mark.parametrize("kind", list(classes()), ids=lambda kind: kind.__name__)
def test_every_exception_has_a_status(kind):
    """An exception without a row of its own has its parent's status; none is a success."""
    assert 400 <= problems.status_of(kind) <= 503
