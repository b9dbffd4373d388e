"""searchapi: a search REST API over two engines, embedded (SQLite + tantivy) and OpenSearch."""

__version__ = "0.1.0"


def create_app(*args, **kwargs):
    """The Flask application; see `searchapi.app.create_app`. Imported late, so that the command line starts without Flask."""
    from .app import create_app as create

    return create(*args, **kwargs)
