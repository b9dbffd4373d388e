"""An application for Gunicorn whose searches crash, with what CRASH_WITH says: `gunicorn … tests.crashing:app`."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, NoReturn

from searchapi.wsgi import app


class Crashing:
    def search(self, info: Any, asked: Any) -> NoReturn:
        raise RuntimeError(f"a mistake of ours, with {os.environ['CRASH_WITH']}")


app.extensions["searchapi"] = replace(app.extensions["searchapi"], search=Crashing())
