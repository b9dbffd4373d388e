"""The embedded engine: SQLite is the truth, tantivy is derived and disposable. See docs/architecture.md."""

from .engine import EmbeddedEngine
from .system import SystemDatabase

__all__ = ["EmbeddedEngine", "SystemDatabase"]
