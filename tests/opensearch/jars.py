"""An OpenSearch to run, laid out from the jars that Maven Central has of it, once per version, outside the repository."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.sax.saxutils import escape

VERSIONS = {3: "3.8.0", 2: "2.19.6"}  # the newest of each line of which every jar below is there
JAVA = {3: range(21, 100), 2: range(11, 24)}  # 2.x needs the SecurityManager, which Java 24 has no more
LOG4J = "2.25.4"  # optional to OpenSearch's own POM, so nothing brings it along
# Module -> (artifact of org.opensearch.plugin, its plugin's class without the ending).
MODULES = {
    "transport-netty4": ("transport-netty4-client", "org.opensearch.transport.Netty4"),
    "lang-painless": ("lang-painless", "org.opensearch.painless.Painless"),
    "analysis-common": ("analysis-common", "org.opensearch.analysis.common.CommonAnalysis"),
    "reindex": ("reindex-client", "org.opensearch.index.reindex.Reindex"),
    "mapper-extras": ("mapper-extras-client", "org.opensearch.index.mapper.MapperExtras"),
    "parent-join": ("parent-join-client", "org.opensearch.join.ParentJoin"),
    "lang-mustache": ("lang-mustache-client", "org.opensearch.script.mustache.Mustache"),
    "percolator": ("percolator-client", "org.opensearch.percolator.Percolator"),
}
EXTENDS = {"analysis-common": "lang-painless"}
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"


class Missing(Exception):
    """What this machine lacks."""


def cache() -> Path:
    """OPENSEARCH_CACHE, else searchapi/opensearch of the user's cache."""
    given = os.environ.get("OPENSEARCH_CACHE")
    path = Path(given or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "searchapi/opensearch")).expanduser().absolute()
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process of the tests at a time."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def javas() -> list[tuple[int, Path]]:
    """(major version, home) of each Java of this machine, JAVA_HOME first."""
    homes: list[str | Path | None] = [os.environ.get("JAVA_HOME")]
    if found := shutil.which("java"):
        homes.append(str(Path(os.path.realpath(found)).parent.parent))
    homes += sorted([*Path("/usr/lib/jvm").glob("*"), *Path("/opt").glob("*j[dr][ke]*")])
    known = []
    for home in dict.fromkeys(Path(h).resolve() for h in homes if h):
        release = home / "release"
        if (home / "bin/java").exists() and release.exists():
            major = re.search(r'JAVA_VERSION="(?:1\.)?(\d+)', release.read_text())
            known += [(int(major[1]), home)] if major else []
    return known


def pick() -> tuple[str, Path]:
    """(version, Java's home): OPENSEARCH_VERSION, else the newest line that a Java of this machine runs. Raises Missing."""
    wanted = os.environ.get("OPENSEARCH_VERSION")
    have = javas()
    for line in [int(wanted.split(".")[0])] if wanted else VERSIONS:
        for major, home in have:
            if major in JAVA.get(line, ()):
                return wanted if wanted and "." in wanted else VERSIONS[line], home
    raise Missing(f"needs Java, 21 or newer, or 11 to 23 for OpenSearch 2.19; found {[major for major, _ in have]}")


def laid_out(version: str) -> Path:
    """The folder with lib/ and modules/. Raises Missing."""
    place = cache() / version
    place.mkdir(exist_ok=True)
    with locked(place / ".lock"):
        dist = place / "dist"
        if not (dist / ".complete").exists():
            if shutil.which("mvn") is None:
                raise Missing("needs the program mvn, once, to get OpenSearch's jars")
            shutil.rmtree(dist, ignore_errors=True)
            _copy_jars(dist, version)
            _lay_out(dist, version)
            (dist / ".complete").touch()
    return dist


def _dependency(group: str, artifact: str, version: str, more: str = "") -> str:
    return (
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{escape(version)}</version>"
        f"{more}</dependency>"
    )


def _copy_jars(dist: Path, version: str) -> None:
    """Into build/<unit>/jars: what the server needs, and each module."""
    server = [("org.opensearch", "opensearch", version), ("org.opensearch", "opensearch-plugin-classloader", version)]
    server += [("org.apache.logging.log4j", "log4j-core", LOG4J), ("org.locationtech.spatial4j", "spatial4j", "0.7")]
    server += [("org.locationtech.jts", "jts-core", "1.15.0")]
    if not version.startswith("2."):
        server.append(("org.opensearch", "opensearch-agent-bootstrap", version))
    # 12 MB of code for HTTP/3 that nothing here loads
    quic = "<groupId>io.netty</groupId><artifactId>netty-codec-native-quic</artifactId>"
    without = f"<exclusions><exclusion>{quic}</exclusion></exclusions>"
    units = {"lib": "".join(_dependency(*one) for one in server)}
    units |= {name: _dependency("org.opensearch.plugin", artifact, version, without) for name, (artifact, _) in MODULES.items()}

    build = dist / "build"
    head = '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    top = "<groupId>local</groupId><artifactId>opensearch</artifactId><version>1</version>"
    build.mkdir(parents=True)
    members = "".join(f"<module>{unit}</module>" for unit in units)
    (build / "pom.xml").write_text(f"{head}{top}<packaging>pom</packaging><modules>{members}</modules></project>")
    for unit, dependencies in units.items():
        (build / unit).mkdir()
        (build / unit / "pom.xml").write_text(
            f"{head}<parent>{top}</parent><artifactId>{unit}</artifactId><packaging>pom</packaging>"
            f"<dependencies>{dependencies}</dependencies></project>"
        )
    options = ["-DincludeScope=runtime", "-DoutputDirectory=${project.basedir}/jars"]
    ran = subprocess.run(
        ["mvn", "-B", "-q", "-f", str(build / "pom.xml"), *options, COPY],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    if ran.returncode:
        raise Missing(f"Maven could not get OpenSearch {version}: {ran.stdout[-1500:]}")


def _lay_out(dist: Path, version: str) -> None:
    """lib/ and modules/*, each module without what is in lib/ already."""
    build = dist / "build"
    (build / "lib/jars").rename(dist / "lib")
    core = {_stem(path.name) for path in (dist / "lib").iterdir()}
    for name, (artifact, plugin) in MODULES.items():
        module = dist / "modules" / name
        shutil.copytree(build / name / "jars", module, ignore=lambda _, names: [n for n in names if _stem(n) in core])
        with zipfile.ZipFile(module / f"{artifact}-{version}.jar") as jar:
            classes = set(jar.namelist())
        ending = next(end for end in ("ModulePlugin", "Plugin") if f"{plugin.replace('.', '/')}{end}.class" in classes)
        described = {"name": name, "description": name, "version": version, "opensearch.version": version, "java.version": "11"}
        described["classname"] = plugin + ending
        if name in EXTENDS:
            described["extended.plugins"] = EXTENDS[name]
        (module / "plugin-descriptor.properties").write_text("".join(f"{key}={value}\n" for key, value in described.items()))
        # Only 2.x reads it, whose SecurityManager would let a module open no socket.
        (module / "plugin-security.policy").write_text("grant { permission java.security.AllPermission; };\n")
    shutil.rmtree(build)
    for folder in ("bin", "plugins"):  # which the server would otherwise make
        (dist / folder).mkdir()


def _stem(jar: str) -> str:
    return re.sub(r"-\d.*$", "", jar)
