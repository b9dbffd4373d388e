"""Writes the documentation of the running Python's standard library as NDJSON. A script of its own: `demo.collect` runs it.

    python -I -S pydocs.py      {"progress": [done, total]} lines while modules are read, then one document a line

Modules written in Python are read with `ast` and never imported, because importing may start something (`antigravity` opens a
browser, `this` prints). Modules written in C have their documentation only in memory, so those are imported, and two whose
public names come into being as they are imported. Nothing else is, and this process ends when it is done.

A thing is documented under the name by which people import it: what a package re-exports (`json.JSONDecoder`, defined in
`json.decoder`) or takes from a private or C module (`collections.deque`, `socket.socket.bind`) is found there and not twice.
"""

from __future__ import annotations

import ast
import gc
import importlib
import inspect
import json
import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

# Not for reading: tests, programs, codecs and machinery that nobody calls by name.
SKIP = {
    "antigravity",
    "this",
    "test",
    "tests",
    "idlelib",
    "turtledemo",
    "lib2to3",
    "ensurepip",
    "pydoc_data",
    "distutils",
    "encodings",
}
IMPLEMENTATIONS = {"genericpath", "posix", "nt", "sre_compile", "sre_constants", "sre_parse", "pyexpat", "xxlimited"}
MADE_ON_IMPORT = ("hashlib", "multiprocessing")  # importing them starts nothing
RENAMED = {"posixpath": "os.path", "_collections_abc": "collections.abc"}
WITH_INHERITED = {"datetime.datetime"}  # of whose methods nobody says that they are `date`'s
SIGNATURE_LINE = re.compile(r"^[\w.]+\(.*\)(\s*(-{1,2}>|=)\s*.+)?\.?$")
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def is_private(dotted: str) -> bool:
    parts = dotted.split(".")
    if parts[0] in RENAMED:
        parts = parts[1:]
    return any(part.startswith("_") or part in IMPLEMENTATIONS for part in parts)


@dataclass
class Module:
    """One module as read. names: what its top level defines or takes from elsewhere, by name, as an ast node, a runtime object,
    or a reference ("ref", module, name). exported: its `__all__` as far as it can be read; None where there is none."""

    name: str
    doc: str = ""
    names: dict[str, Any] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    docs: dict[str, ast.expr] = field(default_factory=dict)  # `splitext.__doc__ = genericpath._splitext.__doc__`
    exported: list[str] | None = None
    whole: bool = True  # exported could be read to the end
    package: bool = False


# ---------------------------------------------------------------------------------------------------- reading modules


def find_modules() -> dict[str, Path | None]:
    """Every module of the standard library by name: the file of a Python one, None for one in C. Private ones too."""
    found: dict[str, Path | None] = dict.fromkeys(name for name in sys.builtin_module_names if name != "__main__")
    known = sys.stdlib_module_names | {"posixpath"}
    stdlib = sysconfig.get_path("stdlib")
    for folder in (stdlib, f"{sysconfig.get_path('platstdlib')}/lib-dynload"):
        for path, folders, files in os.walk(folder):
            parts = Path(path).relative_to(folder).parts
            folders[:] = [name for name in folders if name not in SKIP and (parts or name in known)]
            for file in files:
                stem, suffix = file.partition(".")[::2]
                name = ".".join(parts if stem == "__init__" else (*parts, stem))
                if name.split(".")[0] in known and stem not in SKIP and stem != "__main__":
                    if suffix == "py":
                        found[name] = Path(path, file)
                    elif f".{suffix}" in EXTENSION_SUFFIXES:
                        found.setdefault(name, None)
    return {name: found[name] for name in sorted(found)}


def from_runtime(name: str) -> Module | None:
    try:
        module = importlib.import_module(name)
    except Exception:  # an extension whose library is not installed (tkinter, dbm) documents nothing
        return None
    names = {key: value for key, value in sorted(vars(module).items()) if isinstance(value, type) or inspect.isroutine(value)}
    if name != "builtins":  # second names of builtins (`select.error` is OSError) are not its own
        names = {key: value for key, value in names.items() if not isinstance(value, type) or value.__module__ != "builtins"}
    return Module(name, module.__doc__ or "", names)


def from_source(name: str, path: Path) -> Module | None:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return None
    module = Module(name, ast.get_docstring(tree) or "", package=path.name == "__init__.py")
    for node in statements(tree.body):
        read_statement(module, node)
    if not module.whole and name in sys.modules:  # this script runs on it anyway
        module.exported, module.whole = list(sys.modules[name].__all__), True
    return module


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body with those inside if, try and with: they define names of the same scope."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            for part in ("body", "handlers", "orelse", "finalbody"):
                for child in getattr(node, part, []):
                    yield from statements(child.body if isinstance(child, ast.ExceptHandler) else [child])


def read_statement(module: Module, node: ast.stmt) -> None:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            before = module.names.get(node.name)
            if not isinstance(before, ast.AST) or not ast.get_docstring(before):
                module.names[node.name] = node
        case ast.ImportFrom():
            source = absolute(module, node)
            for alias in node.names:
                if alias.name == "*":
                    module.stars.append(source)
                else:
                    module.names.setdefault(alias.asname or alias.name, ("ref", source, alias.name))
        case ast.Import():
            for alias in node.names:
                module.names.setdefault(alias.asname or alias.name.split(".")[0], ("ref", alias.name, ""))
        case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
            module.exported = []
            export(module, value)
        case ast.AugAssign(target=ast.Name(id="__all__"), value=value):
            export(module, value)
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="__all__"), attr="extend"), args=[value])):
            export(module, value)
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="__all__"), attr="append"), args=[value])):
            export(module, ast.List([value]))
        case ast.Assign(targets=[ast.Attribute(value=ast.Name(id=name), attr="__doc__")], value=ast.Attribute(value=value)):
            module.docs[name] = value
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            module.names.setdefault(name, ("value", module.name, value))


def absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    base = module.name.split(".")
    base = base[: len(base) - node.level + (1 if module.package else 0)]
    return ".".join([*base, *([node.module] if node.module else [])])


def export(module: Module, value: ast.expr) -> None:
    """Add what `__all__` is given, as far as it is written out."""
    module.exported = module.exported if module.exported is not None else []
    match value:
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            module.exported += [e.value for e in elements if isinstance(e, ast.Constant)]
        case ast.BinOp(left=left, right=right):
            export(module, left)
            export(module, right)
        case ast.Name(id=name) if isinstance(module.names.get(name), tuple) and module.names[name][0] == "value":
            export(module, module.names[name][2])
        case _:
            module.whole = False


# ------------------------------------------------------------------------------------------------- whose name is whose


@dataclass(frozen=True)
class Found:
    """A thing where it is defined: its ast node or, of C, the object itself. name: dotted for a member of a class."""

    module: str
    name: str
    thing: Any

    @property
    def is_private(self) -> bool:
        return is_private(f"{self.module}.{self.name}")


class Library:
    def __init__(self) -> None:
        self.modules: dict[str, Module] = {}
        self.resolved: dict[tuple[str, str], Found | None] = {}
        self.known: set[tuple[str, str]] = set()  # (module, name) of what is documented under a public name

    def read(self) -> None:
        files = find_modules()
        for done, (name, path) in enumerate(files.items(), 1):
            read = from_runtime(name) if path is None or name in MADE_ON_IMPORT else from_source(name, path)
            if read:
                self.modules[name] = read
            if done % 20 == 0 or done == len(files):
                emit({"progress": [done, len(files)]})

    def resolve(self, module: str, name: str) -> Found | None:
        """Where `module.name` is defined, or None if it is not a thing to document."""
        key = module, name
        if key not in self.resolved:
            self.resolved[key] = None  # for modules that import each other
            self.resolved[key] = self.look_up(module, name)
        return self.resolved[key]

    def look_up(self, module: str, name: str) -> Found | None:
        read = self.modules.get(module)
        if read is None:
            return None
        if name in read.names:
            found = read.names[name]
            if not isinstance(found, tuple):
                return Found(module, name, found)
            kind, source, rest = found
            if referred := self.resolve(source, rest) if kind == "ref" else self.resolve_value(source, rest):
                return referred
        for source in read.stars:
            if found := self.resolve(source, name):
                return found
        return self.resolve_late(read, name) if name in (read.exported or ()) else None

    def resolve_late(self, module: Module, name: str) -> Found | None:
        """A name in `__all__` that a package imports at its first use, or that is made by a call, as `re.Pattern` is. The
        latter is looked at only where this script has the module loaded anyway."""
        for submodule in self.modules if module.package else ():
            if submodule.rpartition(".")[0] == module.name and isinstance(self.modules[submodule].names.get(name), ast.AST):
                return Found(submodule, name, self.modules[submodule].names[name])
        value = getattr(sys.modules.get(module.name), name, None)
        return Found(module.name, name, value) if isinstance(value, type) or inspect.isroutine(value) else None

    def resolve_value(self, module: str, value: ast.expr) -> Found | None:
        """What an expression names: `Lock = _thread.allocate_lock`, `open = TarFile.open`, `choice = _inst.choice`."""
        match value:
            case ast.Name(id=name):
                return self.resolve(module, name)
            case ast.Attribute(value=ast.Name(id=owner), attr=attribute):
                held = self.modules[module].names.get(owner)
                if isinstance(held, tuple) and held[0] == "ref" and not held[2]:
                    return self.resolve(held[1], attribute)
                if isinstance(held, tuple) and held[0] == "value" and isinstance(held[2], ast.Call):
                    made = self.resolve_value(module, held[2].func)
                else:
                    made = self.resolve(module, owner)
                if made and is_class(made.thing):
                    member = next((m for m in self.members(made.module, made.thing) if m.name == attribute), None)
                    return Found(made.module, f"{made.name}.{attribute}", member.thing) if member else None
        return None

    def exports(self, module: Module) -> list[str]:
        """The names that a public module offers as its own."""
        names = list(module.exported or ())
        if module.exported is None or not module.whole:
            names += [name for name, held in module.names.items() if not isinstance(held, tuple) or is_own(module, held)]
            for source in module.stars:
                starred = self.modules.get(source)
                if starred and (is_private(source) or source.startswith(module.name + ".")):
                    names += self.exports(starred) if starred.exported is None else starred.exported
        return sorted({name for name in names if not name.startswith("_")})

    def public(self) -> list[tuple[str, str, Found]]:
        """(public module, public name, what it is)."""
        offers: dict[tuple[str, str], list[tuple[str, str, Found]]] = {}
        for module in self.modules.values():
            for name in self.exports(module) if not is_private(module.name) else ():
                found = self.resolve(module.name, name)
                if found and (found.module == module.name or found.is_private or found.module.startswith(module.name + ".")):
                    offers.setdefault((found.module, found.name), []).append((module.name, name, found))
        self.known = set(offers)
        kept = []
        for several in offers.values():
            owners = {module for module, _, _ in several}
            kept += [offer for offer in several if not any(offer[0].startswith(owner + ".") for owner in owners)]
        return kept

    def members(self, module: str, thing: Any, inherited: bool = False, depth: int = 0) -> Iterator[Found]:
        """Public members of a class: its own, then those of its private bases, which no one can look up elsewhere."""
        if isinstance(thing, type):
            for base in thing.__mro__:
                if base is thing or (base is not object and (inherited or self.is_hidden(base.__module__, base.__name__))):
                    yield from (Found(module, n, m) for n, m in sorted(vars(base).items()) if not n.startswith("_"))
            return
        for node in statements(thing.body):
            if isinstance(node, DEFINITIONS) and not node.name.startswith("_"):
                yield Found(module, node.name, node)
        for base in thing.bases if depth < 6 else ():
            found = self.resolve_value(module, base)
            if found and is_class(found.thing) and (inherited or self.is_hidden(found.module, found.name)):
                yield from self.members(found.module, found.thing, inherited, depth + 1)

    def is_hidden(self, module: str, name: str) -> bool:
        return is_private(f"{module}.{name}") and (module, name) not in self.known

    def doc(self, found: Found) -> str:
        """Its docstring, or that of what it wraps or is given the docstring of."""
        if not isinstance(found.thing, ast.AST):
            doc = getattr(found.thing, "__doc__", None)
            return inspect.cleandoc(doc).strip() if isinstance(doc, str) else ""
        doc = ast.get_docstring(found.thing) or ""
        sources = [self.modules[found.module].docs.get(found.name)]
        for decorator in found.thing.decorator_list:
            if isinstance(decorator, ast.Call) and decorator.args and ast.unparse(decorator.func).endswith("wraps"):
                sources.append(decorator.args[0])
        for source in sources if not doc else ():
            other = self.resolve_value(found.module, source) if source is not None else None
            doc = doc or (self.doc(other) if other and other != found else "")
        return doc.strip()


def is_own(module: Module, held: tuple) -> bool:
    """Without an `__all__`: what a package takes from its own modules, and second names for what is private."""
    kind, source, rest = held
    if kind == "ref":
        return bool(rest) and (is_private(source) or (module.package and source.startswith(module.name + ".")))
    return isinstance(rest, ast.Attribute | ast.Name)


def is_class(thing: Any) -> bool:
    return isinstance(thing, type | ast.ClassDef)


# ------------------------------------------------------------------------------------------------------------ documents


def kind_of(thing: Any, inside: bool) -> str | None:
    if is_class(thing):
        return "class"
    if isinstance(thing, ast.AST):
        words = {ast.unparse(d).split("(")[0].rsplit(".", 1)[-1] for d in thing.decorator_list}
        if words & {"setter", "deleter", "overload"}:
            return None
        return (
            "property" if words & {"property", "cached_property", "DynamicClassAttribute"} else "method" if inside else "function"
        )
    if inspect.isgetsetdescriptor(thing) or inspect.ismemberdescriptor(thing) or isinstance(thing, property):
        return "property"
    if inspect.isroutine(thing) or isinstance(thing, classmethod | staticmethod):
        return "method" if inside else "function"
    return None


def signature_of(name: str, thing: Any) -> str:
    if isinstance(thing, ast.ClassDef):
        init = [n for n in statements(thing.body) if isinstance(n, ast.FunctionDef) and n.name in ("__init__", "__new__")]
        return f"{name}({without_self(init[0].args)})" if init else name
    if isinstance(thing, ast.AST):
        returns = f" -> {ast.unparse(thing.returns)}" if thing.returns else ""
        return f"{name}({ast.unparse(thing.args)}){returns}"
    try:
        return f"{name}{inspect.signature(thing)}"
    except Exception:  # none is known, or a default value is written in C
        return name + written.replace("$", "") if (written := getattr(thing, "__text_signature__", None)) else ""


def without_self(arguments: ast.arguments) -> str:
    written = ast.unparse(arguments)
    return re.sub(r"^(self|cls|mcls|type)(, /)?(, |$)", "", written)


def describe(name: str, kind: str, thing: Any, doc: str) -> tuple[str, str]:
    """(signature, summary). A C docstring often begins with lines that are its signature."""
    signature = "" if kind == "property" else signature_of(name, thing)
    lines = doc.split("\n")
    if not isinstance(thing, ast.AST) and SIGNATURE_LINE.match(lines[0]):
        signature = signature or lines[0]
        while lines and SIGNATURE_LINE.match(lines[0]):
            del lines[0]
    return signature, summary_of("\n".join(lines))


def summary_of(doc: str) -> str:
    """The first paragraph on one line, or its first sentence where it is long."""
    paragraph = " ".join(doc.strip().split("\n\n")[0].split())
    if len(paragraph) <= 200:
        return paragraph
    sentence = re.match(r".{20,}?[.!?](?=\s|$)", paragraph)
    return sentence[0] if sentence else paragraph


def documents(library: Library) -> Iterator[dict]:
    for module in library.modules.values():
        if not is_private(module.name):
            name = RENAMED.get(module.name, module.name)
            doc = inspect.cleandoc(module.doc).strip()
            yield document(name, "module", name, "", summary_of(doc), doc)
    for module, name, found in library.public():
        yield from document_tree(library, RENAMED.get(module, module), name, found)


def document_tree(library: Library, module: str, path: str, found: Found) -> Iterator[dict]:
    kind = kind_of(found.thing, "." in path)
    if kind is None:
        return
    doc = library.doc(found)
    if kind == "property" and doc in ("", path.rsplit(".", 1)[-1]):  # a slot of a C type, which says nothing of itself
        return
    signature, summary = describe(path.rsplit(".", 1)[-1], kind, found.thing, doc)
    if kind == "function" and "." in found.name:  # a method of a hidden instance, as `random.choice`
        signature = signature.replace("(self, ", "(").replace("(self)", "()")
    # Builtins are known by their bare names.
    id = path if module == "builtins" else f"{module}.{path}"
    yield document(id, kind, module, signature, summary, doc)
    if kind != "class" or path.count(".") > 1:
        return
    members: dict[str, Found] = {}
    for member in library.members(found.module, found.thing, inherited=id in WITH_INHERITED):
        if kind_of(member.thing, True) and (member.name not in members or not library.doc(members[member.name])):
            members[member.name] = member
    for name, member in members.items():
        yield from document_tree(library, module, f"{path}.{name}", member)


def document(id: str, kind: str, module: str, signature: str, summary: str, doc: str) -> dict:
    name = id.rsplit(".", 1)[-1]
    return {"id": id, "name": name, "kind": kind, "module": module, "signature": signature, "summary": summary, "doc": doc}


def emit(value: dict) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def main() -> None:
    sys.stdout.reconfigure(encoding="utf-8", line_buffering=False)
    gc.disable()  # a million syntax nodes that all live to the end
    library = Library()
    library.read()
    unique: dict[str, dict] = {}
    for item in documents(library):
        if item["id"] not in unique or not unique[item["id"]]["doc"]:
            unique[item["id"]] = item
    for id in sorted(unique):
        emit(unique[id])


if __name__ == "__main__":
    main()
