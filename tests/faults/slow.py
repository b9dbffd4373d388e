"""What Gunicorn imports in the tests of overload: the application over an engine each of whose looks at an index takes SLOW_MS."""

from __future__ import annotations

import os
import time

from searchapi import config
from searchapi.app import create_app
from searchapi.engines import open_engine

SECONDS = int(os.environ["SLOW_MS"]) / 1000


class Slow:
    def __init__(self, real):
        self.real = real

    def index(self, name: str):
        time.sleep(SECONDS)
        return self.real.index(name)

    def __getattr__(self, name: str):
        return getattr(self.real, name)


settings = config.load()
engine, system = open_engine(settings)
app = create_app(settings, Slow(engine), system)
