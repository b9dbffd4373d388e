"""What Gunicorn imports, in each worker after the fork: `gunicorn -c python:searchapi.gunicorn_conf searchapi.wsgi:app`."""

from __future__ import annotations

import logging
import sys

from .app import create_app
from .config import SettingsError
from .exceptions import SearchAPIError

APP_LOAD_ERROR = 4  # Gunicorn stops at this exit status of a worker, and starts another after any other

try:
    app = create_app()
except (SettingsError, SearchAPIError) as error:
    logging.getLogger("searchapi").critical("searchapi cannot start: %s", error)
    sys.exit(APP_LOAD_ERROR)
