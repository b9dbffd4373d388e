"""What keeps the house in order: who may import what, and what happens at import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Blueprint

import searchapi

PACKAGE = Path(searchapi.__file__).parent
WITHOUT_FLASK = (
    "model",
    "query",
    "engines",
    "exceptions",
    "documents",
    "schema",
    "ndjson",
    "highlight",
    "search",
    "analysis",
    "writes",
    "config",
    "keystore",
    "logs",
    "scrub",
    "keytext",
    "leases",
    "keyinput",
    "lastuse",
    "secretkey",
    "body",
    "checking",
    "moving",
)
MODULES = sorted(
    ".".join(("searchapi", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if path.name not in ("__main__.py", "wsgi.py", "gunicorn_conf.py")
)


def python(code: str, cwd: Path) -> str:
    """The output of a program in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, env={"PYTHONPATH": str(PACKAGE.parent)}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def files(name: str) -> list[Path]:
    return sorted((PACKAGE / name).rglob("*.py")) if (PACKAGE / name).is_dir() else [PACKAGE / f"{name}.py"]


@pytest.mark.parametrize("name", WITHOUT_FLASK)
def test_no_flask_in_the_core(name):
    """The core imports neither Flask nor Werkzeug, nor the modules of the edge."""
    edge = {"app", "auth", "guard", "incoming", "problems", "requestlog", "routes", "serialise", "services", "wsgi"}
    for path in files(name):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not {alias.name.partition(".")[0] for alias in node.names} & {"flask", "werkzeug"}, path
            elif isinstance(node, ast.ImportFrom):
                first = (node.module or "").partition(".")[0]
                assert first not in ("flask", "werkzeug"), path
                if node.level:
                    assert not ({first} | {alias.name for alias in node.names}) & edge, path


def test_the_core_runs_without_flask(tmp_path):
    """Importing the engines and the query side does not load Flask by another way."""
    core = "searchapi.engines.embedded, searchapi.search, searchapi.query.params, searchapi.writes"
    core += ", searchapi.logs, searchapi.sentry, searchapi.cli.indexer"
    code = f"import sys, {core}; print('flask' in sys.modules)"
    assert python(code, tmp_path) == "False"


def test_no_io_at_import(tmp_path):
    """Importing every module leaves no file, no thread and no child, and opens nothing for writing, no database and no socket."""
    code = f"""
import importlib, os, sys, threading
import urllib3 # which binds a socket to see whether there is IPv6; loaded only where ENGINE_URL names OpenSearch
opened = []
def audit(event, arguments):
    if event in ("sqlite3.connect", "socket.connect", "socket.bind", "subprocess.Popen", "os.mkdir", "os.fork"):
        opened.append((event, str(arguments)))
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        opened.append((event, str(arguments)))
sys.dont_write_bytecode = True
sys.addaudithook(audit)
for name in {MODULES!r}:
    importlib.import_module(name)
print(opened, threading.active_count(), os.listdir("."))
"""
    assert python(code, tmp_path) == "[] 1 []"


def test_routes_define_bp():
    """Each module in routes/ defines `bp`, which is how it is found, and every blueprint is registered."""
    import importlib

    for path in sorted((PACKAGE / "routes").glob("*.py")):
        if path.name != "__init__.py":
            module = importlib.import_module(f"searchapi.routes.{path.stem}")
            assert isinstance(module.bp, Blueprint) and module.bp.name == path.stem, path


def test_statuses_in_one_place():
    """Only problems.py says which status an error has: no other module of the package names one of 4xx or 5xx."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name in ("problems.py", "gunicorn_conf.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "status" and isinstance(node.value, ast.Constant):
                assert not (isinstance(node.value.value, int) and node.value.value >= 400), path


def test_no_engine_is_asked_who_it_is():
    """Differences between engines are Capabilities: no `isinstance` on engines outside engines/."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if "engines" not in path.parts:
            assert "isinstance(engine" not in path.read_text(), path


def test_nothing_fetches_addresses():
    """What answers requests imports no HTTP client: no client can make the server ask another one (OWASP API7). One module does,
    whose hosts are those of ENGINE_URL; what it is given goes into paths and bodies."""
    clients = {"urllib.request", "http.client", "urllib3", "requests", "httpx", "aiohttp", "opensearchpy"}
    engine = PACKAGE / "engines/opensearch/nodes.py"
    for path in sorted(PACKAGE.rglob("*.py")):
        if "cli" not in path.parts and path != engine:
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
                assert not clients & set(names), path


def test_the_map_of_the_house():
    """docs/architecture.md says of each module of the package when one would go there."""
    text = (PACKAGE.parent / "docs/architecture.md").read_text()
    modules = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert {name for name in modules if f"`{name}`" not in text} == set()
