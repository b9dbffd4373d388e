"""The filter language.

    filter      = disjunction
    disjunction = conjunction { "OR" conjunction }
    conjunction = negation { "AND" negation }
    negation    = "NOT" negation | primary
    primary     = "(" disjunction ")" | "EXISTS" field | field test
    test        = ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
                | [ "NOT" ] "IN" "[" value { "," value } "]"
                | value "TO" value
                | "STARTS" "WITH" value
    field       = bare | string
    value       = bare | string
    string      = '"' … '"' | "'" … "'"           with \\" \\' \\\\ \\n \\r \\t inside
    bare        = one or more characters other than blanks, quotes and ( ) [ ] , = ! < >

Keywords are read in any case; a bare value may not be one of them. A value is read as its field's type says: see `fields.py`.
`parse_filter` flattens an AND in an AND and an OR in an OR, and `format_filter` prints what `parse_filter` reads back as the same
node.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from ..documents import format_date
from ..exceptions import Invalid
from ..model import And, Between, Compare, Exists, Field, Filter, In, IndexInfo, Not, Or, StartsWith
from .fields import ORDERED, no_such_field, no_values, shown, value_from_text
from .limits import DEFAULT_LIMITS, Limits
from .tokens import KEYWORDS, Token, fault, tokenize

ANY_TYPE = frozenset({"text", "keyword", "integer", "float", "boolean", "date"})
STRINGS = frozenset({"text", "keyword"})


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of the language: for fields of these types, with one value, a list or a pair, making a node."""

    types: frozenset[str]
    takes: Literal["one", "list", "pair"]
    build: Callable[..., Filter]


OPERATORS: dict[str, Operator] = {
    "=": Operator(ANY_TYPE, "one", lambda field, value: Compare(field, "=", value)),
    "!=": Operator(ANY_TYPE, "one", lambda field, value: Compare(field, "!=", value)),
    "<": Operator(ORDERED, "one", lambda field, value: Compare(field, "<", value)),
    "<=": Operator(ORDERED, "one", lambda field, value: Compare(field, "<=", value)),
    ">": Operator(ORDERED, "one", lambda field, value: Compare(field, ">", value)),
    ">=": Operator(ORDERED, "one", lambda field, value: Compare(field, ">=", value)),
    "IN": Operator(ANY_TYPE, "list", In),
    "NOT IN": Operator(ANY_TYPE, "list", lambda field, values: Not(In(field, values))),
    "TO": Operator(ORDERED, "pair", Between),
    "STARTS WITH": Operator(STRINGS, "one", lambda field, prefix: StartsWith(field, prefix) if prefix else Exists(field)),
}
_SYMBOLS = frozenset(name for name in OPERATORS if not name[0].isalpha())
_EXPECTED_OPERATOR = "an operator (= != < <= > >= IN, NOT IN, STARTS WITH, or a value TO a value)"
_MEANT = {"==": "=", "===": "=", "<>": "!=", "!==": "!=", "=>": ">=", "=<": "<=", "!": "!="}

LONGEST_PREFIX = 900  # bytes; tantivy's patterns take 981

_BARE_FIELD = re.compile(r"[a-z0-9_.-]+")


def parse_filter(text: str, info: IndexInfo, limits: Limits = DEFAULT_LIMITS) -> Filter:
    """Read a filter for an index. Raises Invalid at `filter`, and nothing else: filter_syntax, unknown_field, filter_type,
    no_values, filter_too_long, filter_too_complex."""
    if len(text) > limits.max_filter_length:
        found = f"filter: expected at most {limits.max_filter_length} characters (MAX_FILTER_LENGTH), found {len(text)}"
        raise Invalid.at("filter", "filter_too_long", found)
    return _Parser(tokenize(text), info, limits).parse()


class _Parser:
    """Recursive descent over the tokens of one filter. The depth is capped, and with it Python's stack."""

    def __init__(self, tokens: list[Token], info: IndexInfo, limits: Limits):
        self.tokens = tokens
        self.info = info
        self.limits = limits
        self.at = 0
        self.depth = 0
        self.count = 0

    # tokens
    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        token = self.token
        self.at += token.kind != "end"
        return token

    def accept(self, *words: str) -> bool:
        """Whether these keywords, or this mark, come next; then they are taken."""
        ahead = self.tokens[self.at : self.at + len(words)]
        if [t.text if t.kind == "mark" else t.keyword for t in ahead] != list(words):
            return False
        self.at += len(words)
        return True

    def expected(self, what: str) -> Invalid:
        return fault(self.token.column, f"expected {what}, found {self.token}")

    # grammar
    def parse(self) -> Filter:
        node = self.disjunction()
        if self.token.kind != "end":
            raise self.expected("AND, OR or the end of the filter")
        return node

    def disjunction(self) -> Filter:
        return self.chain("OR", Or, partial(self.chain, "AND", And, self.negation))

    def chain(self, keyword: str, build: type[And] | type[Or], part: Callable[[], Filter]) -> Filter:
        nodes = [part()]
        while self.accept(keyword):
            nodes.append(part())
        if len(nodes) == 1:
            return nodes[0]
        self.counted()
        return build(tuple(leaf for node in nodes for leaf in (node.nodes if isinstance(node, build) else (node,))))

    def negation(self) -> Filter:
        if not self.names_field() and self.accept("NOT"):
            with _Deeper(self):
                self.counted()
                return Not(self.negation())
        return self.primary()

    def primary(self) -> Filter:
        if self.accept("("):
            with _Deeper(self):
                node = self.disjunction()
                if not self.accept(")"):
                    raise self.expected('AND, OR or ")"')
                return node
        self.counted()
        if not self.names_field() and self.accept("EXISTS"):
            return Exists(self.field("a field after EXISTS").name)
        return self.test(self.field('a condition such as kind = "function"'))

    def test(self, field: Field) -> Filter:
        start = self.token.column
        name = self.operator(field)
        operator = OPERATORS[name]
        if field.type not in operator.types:
            usable = f"{name} works on fields of type {', '.join(sorted(operator.types))}"
            raise fault(start, f'{usable}; "{field.name}" is of type {field.type}', "filter_type")
        if operator.takes == "one":
            column, value = self.token.column, self.value(field, f'a value after "{name}"')
            if name == "STARTS WITH" and (size := len(value.encode())) > LONGEST_PREFIX:
                too_long = f"STARTS WITH: expected at most {LONGEST_PREFIX} bytes, found {size}"
                raise fault(column, too_long, "filter_too_long")
            return operator.build(field.name, value)
        if operator.takes == "list":
            return operator.build(field.name, self.values(field, name))
        low, column = self.value(field, "a value"), self.token.column
        self.at += 1  # TO, which `operator` has seen
        high = self.value(field, 'a value after "TO"')
        if low > high:
            raise fault(column, f'expected the lower end before TO: "{field.name}" low TO high', "filter_type")
        return operator.build(field.name, low, high)

    def operator(self, field: Field) -> str:
        """The name of the operator that comes next, taken; of TO nothing is taken, since a value comes first."""
        token = self.token
        if token.kind == "symbol":
            if token.text not in _SYMBOLS:
                hint = f"; did you mean {_MEANT[token.text]}?" if token.text in _MEANT else ""
                raise fault(token.column, f"unknown operator {shown(token.text)}{hint}")
            return self.take().text
        for words in (("IN",), ("NOT", "IN"), ("STARTS", "WITH")):
            if self.accept(*words):
                return " ".join(words)
        if token.is_value and self.tokens[self.at + 1].keyword == "TO":
            return "TO"
        raise self.expected(f'{_EXPECTED_OPERATOR} after "{field.name}"')

    def field(self, expected: str) -> Field:
        if not (self.token.is_value or self.names_field()):
            raise self.expected(expected)
        token = self.take()
        field = self.info.fields.get(token.text)
        if field is None:
            raise fault(token.column, self.unknown(token.text), "unknown_field")
        if not field.has_values:
            raise fault(token.column, no_values(field), "no_values")
        return field

    def unknown(self, text: str) -> str:
        name, colon, value = text.partition(":")
        if colon and name in self.info.fields:
            return f"there is no field {shown(text)} in this index; did you mean {name} = {shown(value) if value else '…'}?"
        return no_such_field(text, self.info)

    def names_field(self) -> bool:
        """Whether a keyword here is the name of a field: what follows is then an operator, as in `exists = true`."""
        return self.token.keyword is not None and self.tokens[self.at + 1].kind == "symbol"

    def value(self, field: Field, expected: str) -> Any:
        token = self.token
        if not token.is_value:
            quotes = " (a keyword; in quotes it is a value)" if token.keyword else ""
            raise fault(token.column, f"expected {expected}, found {token}{quotes}")
        self.take()
        try:
            return value_from_text(field, token.text, token.kind == "string")
        except ValueError as error:
            raise fault(token.column, str(error), "filter_type") from None

    def values(self, field: Field, name: str) -> tuple[Any, ...]:
        if not self.accept("["):
            raise self.expected(f'"[" after "{name}"')
        values = [self.value(field, 'a value after "["')]
        while self.accept(","):
            values.append(self.value(field, 'a value after ","'))
            if len(values) > self.limits.max_in_values:
                most = f"expected at most {self.limits.max_in_values} values after {name} (MAX_IN_VALUES)"
                raise fault(self.token.column, f"{most}, found more", "filter_too_complex")
        if not self.accept("]"):
            raise self.expected('"," or "]"')
        return tuple(values)

    def counted(self) -> None:
        self.count += 1
        if self.count > self.limits.max_filter_nodes:
            most = f"expected at most {self.limits.max_filter_nodes} conditions, NOTs, ANDs and ORs (MAX_FILTER_NODES)"
            raise fault(self.token.column, f"{most}, found more", "filter_too_complex")


class _Deeper:
    """One step further into parentheses or NOTs."""

    def __init__(self, parser: _Parser):
        self.parser = parser

    def __enter__(self) -> None:
        parser = self.parser
        parser.depth += 1
        if parser.depth > parser.limits.max_filter_depth:
            most = f"expected at most {parser.limits.max_filter_depth} parentheses and NOTs inside each other (MAX_FILTER_DEPTH)"
            raise fault(parser.token.column, f"{most}, found more", "filter_too_complex")

    def __exit__(self, *error: object) -> None:
        self.parser.depth -= 1


# ----------------------------------------------------------------------------------------------------------- printing


def format_filter(node: Filter, info: IndexInfo) -> str:
    """The node as text that `parse_filter` reads back as the same node."""
    match node:
        case And(nodes):
            return " AND ".join(_grouped(n, (And, Or), info) for n in nodes)
        case Or(nodes):
            return " OR ".join(_grouped(n, (Or,), info) for n in nodes)
        case Not(In(field, values)):
            return f"{_name(field)} NOT IN {_list(field, values, info)}"
        case Not(inner):
            return f"NOT {_grouped(inner, (And, Or), info)}"
        case Exists(field):
            return f"EXISTS {_name(field)}"
        case In(field, values):
            return f"{_name(field)} IN {_list(field, values, info)}"
        case Between(field, low, high):
            return f"{_name(field)} {_value(field, low, info)} TO {_value(field, high, info)}"
        case StartsWith(field, prefix):
            return f"{_name(field)} STARTS WITH {_value(field, prefix, info)}"
        case Compare(field, op, value):
            return f"{_name(field)} {op} {_value(field, value, info)}"


def _grouped(node: Filter, in_parentheses: tuple[type, ...], info: IndexInfo) -> str:
    text = format_filter(node, info)
    return f"({text})" if isinstance(node, in_parentheses) else text


def _name(field: str) -> str:
    return field if _BARE_FIELD.fullmatch(field) and field.upper() not in KEYWORDS else _quoted(field)


def _list(field: str, values: tuple[Any, ...], info: IndexInfo) -> str:
    return f"[{', '.join(_value(field, value, info) for value in values)}]"


def _value(field: str, value: Any, info: IndexInfo) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    known = info.fields.get(field)
    return _quoted(format_date(value)) if known is not None and known.type == "date" else repr(value)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
