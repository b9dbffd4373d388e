"""Text that is made to be taken for something else: a query, a script, a path, a pattern, the end of a string."""

from __future__ import annotations

import random

WANTED = 500
PLAIN = [
    # query_string and Lucene's classic syntax
    "*", "?", "**", "*:*", "a*", "*a", "?arse", "pars?ng", "a~", "a~2", "parsing~0.5", '"parsing guide"~5', "_id:1", "_index:*",
    "_source:x", "title:parsing", "title:*", "title:/.*/", "_exists_:title", "_all:x", "/.*/", "/pars(ing|e)/",
    "[a TO z]", "{a TO z}",
    "year:[2000 TO *]", "year:>2000", "a AND b", "a OR", "AND", "NOT", "NOT a", "(a", "a)", "((((((((((", "a && b",
    "a || b", "!a", "+a -b",
    "-a", "--a", "+", "-", "a^5", "a^", "^", "\\", "\\\\", "\\*", "a\\", '"', '"a', 'a"', '""', "'", "''", "a:b:c", ":",
    "::", "a::b", "<a>",
    ">=1", "~", "~~", "#", "@", "&", "&&", "|", "||", "=", "a=b", "$", "%", "%%", "%s", "%n%n", "{}", "[]", "()", "<>",
    "a,b", ",", ";", "`",
    "k/kind", "t/title", "s/title", "w/title", "i/year", "has", "gone", "body", "version", "_seq_no", "_score", "_doc",
    "_shard_doc",
    "<logstash-{now/d}>", "_search", "_bulk", "_all", "_cat", "..", ".", "../", "../../_cat/indices", "..%2f..%2f_cat",
    "%2e%2e%2f", "%2f",
    "%252f", "a/b", "a//b", "/", "//", "a?b=c", "a#b", "a&b", "*,-*", "-*", "*:*,*:*", "remote:index", ".kibana", "index/_doc/1",
    # JSON and the query DSL
    '{"match_all":{}}', '{"query":{"match_all":{}}}', '"}}', '"}},"size":10000', '","x":"', "\\u0022", "\\\"", "{{", "}}",
    "{{#toJson}}x{{/toJson}}",
    '[{"script":{"source":"1"}}]', '{"$gt":""}', "null", "true", "false", "undefined", "NaN", "Infinity", "-Infinity",
    "[object Object]",
    '{"index":{"_id":"x"}}\n{"id":"x"}', '\n{"delete":{"_id":"a"}}\n', "\r\n", "a\nb", "a\r\nX-Header: 1", "a\tb", "\v", "\f",
    # scripts, templates, other engines
    "doc['year'].value", "params._source", "ctx._source.remove('x')", "ctx.op='delete'", "System.exit(1)",
    "Runtime.getRuntime().exec('id')",
    "${jndi:ldap://127.0.0.1/a}", "${7*7}", "#{7*7}", "{{7*7}}", "<%= 7*7 %>", "<script>alert(1)</script>",
    "<b>parsing</b>", "<!--", "]]>",
    "' OR '1'='1", "'; DROP TABLE documents; --", "1; SELECT 1", "') UNION SELECT 1 --", "0x1F", "1e309", "-0", "00",
    "1_000", "١٢٣",
    "$(id)", "`id`", "| id", "&& id", "; id", "\x1b[31mred", "=cmd|' /C calc'!A0",
    # regular expressions
    ".*", ".+", "(a+)+$", "(a|a)*b", "[a-z", "[^a]", "a{1,99999}", "a{", "(?i)a", "(?<x>a)", "a|b", "^a$", "\\d+",
    "\\p{L}", "~(a)", "a&b", "<1-100>", "@",
    # Unicode
    "\0", "a\0b", "\x01", "\x01parsing", "\x7f", "\x80", "\xa0", "\u00ad", "\u200b", "par\u200bsing", "\u200dparsing",
    "\u202eparsing\u202c", "\u2066a\u2069",
    "\ufeff", "\ufeffparsing", "\ufffd", "\uffff", "\U0010ffff", "\U000e0041", "e\u0301", "é", "É", "ǅ", "ß", "ẞ", "ﬁ",
    "İ", "ı", "i\u0307", "K", "Å",
    "a" + "\u0301" * 300, "\u0301", "ﷺ", "한글", "한글", "漢字", "𝒫arsing", "ｐａｒｓｉｎｇ", "Ⅷ", "½", "²", "👩‍👩‍👧", "🇩🇪", "٣",
    "مرحبا", "שלום", "ไทย", "नमस्ते", "ʼn", "ſ", "σς", "a\u2028b", "a\u2029b", "a\u0085b", "\u180e", "⁄", "∕", "․․∕",
    # length and repetition
    "x" * 10_000, "a" * 255, "a" * 256, "a" * 513, "ab" * 4_000, "é" * 300, "😀" * 200, " " * 1000, "-" * 1000,
    "a b " * 200, "*" * 500, '"' * 99, "(" * 500,
    "a " * 20 + "*", "~" * 50, "a." * 300, "a_b_" * 100, "aB" * 200, "1" * 400, "-1" * 100, "." * 300, ":" * 300,
    "\\" * 300, "0" * 5000,
    # words of ours, slightly off
    "parsing", "Parsing", "PARSING", "parsign", "pasring", "prasing", "parsing guide", "guide -parsing",
    'title:"the art"', "kind:guide", "year:2001", "tags:a", "a.b",
    "gúide", "guide*", "gui", "g", "the", "of the", "  parsing  ", "parsing\tguide", "", " ", "parsing parsing parsing",
    "recipe OR guide", "art_of_parsing", "artOfParsing",
]  # fmt: skip


def hostile() -> list[str]:
    """All of the plain ones, then pairs of them and parts of them, the same in every run."""
    chance, found = random.Random(6), dict.fromkeys(PLAIN)
    short = [text for text in PLAIN if len(text) < 60]
    while len(found) < WANTED:
        a, b = chance.choice(short), chance.choice(short)
        made = [a + b, f"parsing {a}", f"{a}parsing", f'"{a} {b}"', f"title:{a}", f"{a} AND {b}", f"{a[: len(a) // 2]}{b}"]
        found[chance.choice(made)] = None
    return list(found)


STRINGS = hostile()
