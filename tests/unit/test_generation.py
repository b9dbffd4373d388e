"""Where fields lie in a generation: spare slots, when they run out, what needs a new generation, names, whole values."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from searchapi.engines.embedded.generation import (
    FORMAT,
    SPARE,
    Layout,
    Placement,
    Reached,
    lay_out,
    read_reached,
    write_reached,
)
from searchapi.engines.values import KEYWORD_LENGTH, keyword_shown, keyword_value
from searchapi.model import Field

ID = Field("id", "keyword")


def text(name: str, language: str = "english", **rest) -> Field:
    return Field(name, "text", language=language, **rest)


# --------------------------------------------------------------------------------------------------------- placement


def test_a_new_field_takes_spare_slots():
    """Nothing else moves, and a text field has a keyword slot beside its text slot."""
    before = lay_out([ID], "english")
    after = before.place([text("title")])
    assert after.slots["id"] == before.slots["id"]
    assert after.slots["title"].text is not None
    assert after.slots["title"].keyword not in (None, before.slots["id"].keyword)
    assert after.layout == before.layout


def test_slots_run_out():
    """One field more than there are spare slots is no longer placed; the next generation has room again."""
    placement = lay_out([ID], "english")
    fields = [Field(f"n{n}", "date") for n in range(SPARE["integer"])]
    full = placement.place(fields)
    assert full is not None
    assert full.place([Field("one-more", "date")]) is None
    wider = lay_out([*(s.field for s in full.slots.values()), Field("one-more", "date")], "english")
    assert wider.layout.integer >= 2 * (SPARE["integer"] + 1)
    assert wider.place([Field("another", "date")]) is not None


def test_no_two_fields_share_a_slot():
    """Whatever the mixture, each slot of each kind belongs to one field."""
    kinds = ("text", "keyword", "integer", "float", "boolean", "date")
    fields = [Field(f"{kind}{n}", kind, language="english" if kind == "text" else None) for kind in kinds for n in range(3)]
    placement = lay_out(fields, "english")
    for kind in ("text", "keyword", "integer", "float"):
        taken = [slot for s in placement.slots.values() if (slot := getattr(s, kind)) is not None]
        assert len(taken) == len(set(taken))


def test_an_inferred_integer_widens_in_place():
    """It has a float slot from the start; a declared one has none, and needs a new generation."""
    inferred = Field("price", "integer", inferred=True)
    widened = lay_out([inferred], "english").place([replace(inferred, type="float")])
    assert widened is not None and widened.slots["price"].value_name.startswith("f")
    declared = Field("price", "integer")
    assert lay_out([declared], "english").place([replace(declared, type="float")]) is None


def test_another_language_needs_another_generation():
    """A slot's words are stemmed by its language when they are indexed; a boost is applied when they are searched."""
    placement = lay_out([text("title")], "english")
    assert placement.place([text("title", "german")]) is None
    assert placement.place([text("title", boost=4.0)]).slots["title"].field.boost == 4.0


def test_another_language_has_no_spare_slot():
    """Spare text slots are of the index's language; a declared other one needs a new generation, which then has its slot."""
    placement = lay_out([ID], "english")
    assert placement.place([text("titel", "german")]) is None
    assert "german" in lay_out([ID, text("titel", "german")], "english").layout.text


def test_another_type_needs_another_generation():
    """What is indexed as one type cannot be read as another."""
    for old, new in (("text", "integer"), ("keyword", "text"), ("integer", "boolean"), ("date", "integer"), ("boolean", "keyword")):
        before = Field("f", old, language="english" if old == "text" else None)
        after = Field("f", new, language="english" if new == "text" else None)
        assert lay_out([before], "english").place([after]) is None, (old, new)


def test_a_keyword_twin_cannot_be_added_later():
    """A text field indexed without its whole values needs a new generation to have them."""
    bare = text("title", keyword=False)
    assert lay_out([bare], "english").slots["title"].keyword is None
    assert lay_out([bare], "english").place([text("title")]) is None
    assert lay_out([text("title")], "english").place([bare]) is not None


def test_a_placement_survives_being_stored():
    """Layout and placement come back from their JSON as they were."""
    placement = lay_out([ID, text("title"), Field("n", "integer", inferred=True, array=True)], "german", epoch=3)
    layout = Layout.from_json(placement.layout.to_json())
    assert layout == placement.layout
    assert Placement.from_json(layout, placement.to_json()) == placement


# ------------------------------------------------------------------------------------------------------------- names


def test_names_tell_layouts_apart():
    """A name begins with the format, and differs with every slot, language and epoch; the same layout has the same name."""
    layouts = [
        lay_out(fields, language, epoch).layout
        for fields in ([ID], [ID, text("t")])
        for language in ("english", "german")
        for epoch in (0, 1)
    ]
    assert len({layout.name for layout in layouts}) == len(layouts)
    assert all(layout.name.startswith(f"{FORMAT}-") for layout in layouts)
    assert lay_out([ID], "english").layout.name == lay_out([ID], "english").layout.name


# ------------------------------------------------------------------------------------------------------- whole values


@given(st.text(max_size=2 * KEYWORD_LENGTH), st.text(max_size=2 * KEYWORD_LENGTH))
def test_equal_only_where_equal(a, b):
    """Shortened or not, two values are the same in the index only where they are the same."""
    assert (keyword_value(a) == keyword_value(b)) == (a == b)


@given(st.text(alphabet="ab", min_size=KEYWORD_LENGTH - 2, max_size=KEYWORD_LENGTH + 2), st.text(alphabet="ab", max_size=3))
def test_long_values_that_begin_alike_stay_apart(beginning, end):
    """A value is told from every longer one that it begins, around the length at which it is shortened."""
    longer = beginning + "x" + end
    assert keyword_value(longer) != keyword_value(beginning)
    assert keyword_value(longer).startswith(beginning[:KEYWORD_LENGTH])


def test_a_long_value_is_shown_without_its_hash():
    """A person sees its beginning and an ellipsis; a short one as it is, also at the very length."""
    assert keyword_shown(keyword_value("x" * KEYWORD_LENGTH)) == "x" * KEYWORD_LENGTH
    assert keyword_shown(keyword_value("x" * (KEYWORD_LENGTH + 1))) == "x" * KEYWORD_LENGTH + "…"


# ----------------------------------------------------------------------------------------------------- how far reached


def test_reached_is_read_as_written_or_not_at_all(tmp_path):
    """Empty, garbage or of another shape is none: the generation is then not to be trusted."""
    write_reached(tmp_path, Reached("u", 7))
    assert read_reached(tmp_path) == Reached("u", 7)
    for content in (b"", b"\x00" * 40, b"{", b"[]", b"{}", b'{"uuid": "u"}', b'{"uuid": "u", "seq": "x"}', b"null"):
        (tmp_path / "reached.json").write_bytes(content)
        assert read_reached(tmp_path) is None, content
    (tmp_path / "reached.json").unlink()
    assert read_reached(tmp_path) is None
