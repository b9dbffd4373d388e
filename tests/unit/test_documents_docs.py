"""docs/documents.md and docs/index-settings.md say what the code does."""

from __future__ import annotations

import io
import re
from pathlib import Path

import orjson
import pytest

from searchapi import analysis
from searchapi.documents import check, format_date, parse_date
from searchapi.exceptions import Invalid
from searchapi.model import FIELD_TYPES, IndexSettings
from searchapi.ndjson import read_documents
from searchapi.schema import differences, parse_settings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (ROOT / "docs/documents.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs/index-settings.md").read_text(encoding="utf-8")


def blocks(page, language):
    """The code blocks of a page, in order."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def test_the_example_documents_and_their_error():
    """The documents are good; the error shown is the one that its document gets."""
    fields = {}
    for _, document in read_documents(io.BytesIO(blocks(DOCUMENTS, "ndjson")[0].encode()), "application/x-ndjson"):
        fields |= check(document, IndexSettings(), fields)
    assert list(fields) == ["id", "title", "year", "tags", "author.name"]
    (error,) = orjson.loads(blocks(DOCUMENTS, "json")[0])["errors"]
    with pytest.raises(Invalid) as caught:
        check({"id": error["id"], "year": "sixties"}, IndexSettings(), fields)
    (fault,) = caught.value.errors
    assert (fault.code, fault.detail, f"/1{fault.pointer}") == (error["code"], error["detail"], error["pointer"])


def test_the_dates():
    """Each row of the table of dates."""
    rows = re.findall(r"^\| `([^`]+)` \| ([0-9T:.-]+Z)", DOCUMENTS, re.MULTILINE)
    assert len(rows) == 6
    for sent, instant in rows:
        assert format_date(parse_date(orjson.loads(sent))) == instant


def test_the_types():
    """Each type has its row, in order."""
    assert (
        tuple(re.findall(r"^\| `(\w+)` \| .* \| .* \|$", DOCUMENTS.partition("## Types")[2].partition("##")[0], re.MULTILINE))
        == FIELD_TYPES
    )


def test_the_example_settings():
    """The settings shown are good, hold every key, and the dry run names settings as they are named."""
    whole, change = (orjson.loads(block) for block in blocks(SETTINGS, "json"))
    settings = parse_settings(whole)
    before = parse_settings({**whole, "fields": {"title": {**whole["fields"]["title"], "language": None}}})
    assert list(differences(before, settings)) == change["changed"]
    assert set(re.findall(r"^\| `(\w+)` \|", SETTINGS.partition("Languages:")[0], re.MULTILINE)) == set(whole)


def test_the_languages():
    """All languages are listed, and no other."""
    listed = re.findall(r"`(\w+)`", re.search(r"^Languages:(.*?)\.$", SETTINGS, re.MULTILINE | re.DOTALL)[1])
    assert listed == analysis.LANGUAGES


@pytest.mark.parametrize(("page", "modules"), [(DOCUMENTS, ("checking", "ndjson")), (SETTINGS, ("schema",))])
def test_the_codes(page, modules):
    """Every code that a module gives is explained."""
    source = "".join((ROOT / f"searchapi/{module}.py").read_text(encoding="utf-8") for module in modules)
    given = set(re.findall(r'(?:fault\([^"]*|Fault\([^"]*|Invalid\.at\([^"]*|return )"([a-z]+(?:_[a-z]+)+)"', source))
    given |= set(re.findall(r'None if .* else \("(\w+)"', source))
    outside = {"unsupported_media_type", "invalid_name", "wrong_type"} if "ndjson" in modules else {"invalid_name"}
    assert given - outside
    explained = set(re.findall(r"`(\w+)`", page.rpartition("| code | |")[2]))
    assert given - outside <= explained
