"""`search`: a search from the terminal, with the parameters of the HTTP route."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from time import perf_counter

import click
import orjson

from ..model import AnsweredHit, Highlight, Marked, SearchAnswer
from ..query.params import search_from_args
from .common import workplace

SNIPPET = 120  # code points of a field's text beside its matches
SHOWN_FIELDS = 3  # of a hit


@click.command(context_settings={"ignore_unknown_options": True})  # `-word` excludes a word
@click.argument("index")
@click.argument("query", nargs=-1, type=click.UNPROCESSED)
@click.option("--filter", "filter_", help='Only documents that match, as: kind = "function" AND module != "os"')
@click.option("--facets", help="Count values of these fields, as: kind,module")
@click.option("--sort", help="Sort by these fields instead of relevance, as: -year,name")
@click.option("--limit", default="10", show_default=True, help="How many hits.")
@click.option("--json", "as_json", is_flag=True, help="The answer as the HTTP API gives it.")
def search(index: str, query: tuple[str, ...], as_json: bool, limit: str, **options: str | None) -> None:
    """Search INDEX for QUERY: words, "phrases", -excluded words, field:word."""
    for word in query:
        if word.startswith("--"):
            context = click.get_current_context()
            known = [name for option in context.command.params for name in option.opts if name.startswith("--")]
            raise click.NoSuchOption(word, possibilities=difflib.get_close_matches(word.split("=")[0], known), ctx=context)
    given = {"q": " ".join(query), "limit": limit, **{name.rstrip("_"): text for name, text in options.items()}}
    started = perf_counter()
    with workplace() as w:
        from ..search import SearchService

        info, limits = w.info(index), w.settings.limits
        arguments = {name: [text] for name, text in given.items() if text is not None}
        asked = search_from_args(arguments, info, w.engine.capabilities, limits)
        if not as_json:
            asked = replace(asked, highlight=Highlight(snippet_length=SNIPPET))
        found = SearchService(w.engine, limits).search(info, asked)
    took_ms = (perf_counter() - started) * 1000
    if as_json:
        from .. import serialise

        click.echo(serialise.search(found, asked, info, None, took_ms))
        return
    for line in readable(found):
        click.echo(line)


def readable(found: SearchAnswer) -> Iterator[str]:
    for correction in found.corrections:
        yield f"{correction.word}: also searched as {', '.join(correction.to)}"
    for number, hit in enumerate(found.hits, 1):
        yield f"{number:3}. {click.style(hit.id, bold=True)}"
        for name, text in shown_fields(hit):
            yield f"     {name}: {text}"
    for name, facet in found.facets.items():
        counts = facet.stats.items() if facet.stats is not None else facet.values
        yield f"{name}: " + ", ".join(f"{value} {count}" for value, count in counts)
    about = "" if found.total_exact else "about "
    if not found.total:
        yield "No hits."
    elif len(found.hits) < found.total:
        yield f"{len(found.hits)} of {about}{found.total:,} hits; --limit shows more."
    else:
        yield f"{found.total:,} {'hit' if found.total == 1 else 'hits'}."


def shown_fields(hit: AnsweredHit) -> Iterator[tuple[str, str]]:
    """The fields of a hit that hold matches, else its first texts, each on one line; not one that begins like one before."""
    marked = [(name, one.text, emphasised(one)) for name, one in first_marks(hit.highlights or {})]
    document = orjson.loads(hit.document)
    plain = [(name, value, value) for name, value in document.items() if isinstance(value, str) and value and value != hit.id]
    told: list[str] = []
    for name, text, shown in marked or plain:
        if len(told) < SHOWN_FIELDS and not any(" ".join(text.split()).startswith(before) for before in told):
            told.append(" ".join(text.split()))
            yield name, " ".join(shown.split()) if marked else textwrap.shorten(shown, SNIPPET, placeholder=" …")


def first_marks(highlights: Mapping[str, Marked | tuple[Marked, ...]]) -> Iterator[tuple[str, Marked]]:
    for name, marked in highlights.items():
        for one in marked if isinstance(marked, tuple) else (marked,):
            if one.ranges:
                yield name, one
                break


def emphasised(marked: Marked) -> str:
    """Matches in bold on a terminal; click leaves the codes out where the output goes elsewhere."""
    parts, done = [], 0
    for start, end in marked.ranges:
        parts += [marked.text[done:start], click.style(marked.text[start:end], bold=True)]
        done = end
    return "".join([*parts, marked.text[done:]])
