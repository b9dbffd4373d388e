"""Settings: one table, read once by python-decouple into a frozen `Settings`.

A value comes from the environment, else from one file of `NAME=value` lines: `$CREDENTIALS_DIRECTORY/env` (systemd's
LoadCredential), else `.env` in the working directory, else `.env` beside the package. `python -m searchapi.config env` prints
`.env.example`, and `python -m searchapi.config docs` the table of docs/settings.md.
"""

from .casts import rate
from .printing import example, table
from .safety import LOOPBACK, Check, checks, require_safe, verdicts
from .settings import CHECKOUT, SETTINGS, Setting, Settings, SettingsError, env_file, load

__all__ = [
    "CHECKOUT",
    "LOOPBACK",
    "SETTINGS",
    "Check",
    "Setting",
    "Settings",
    "SettingsError",
    "checks",
    "env_file",
    "example",
    "load",
    "rate",
    "require_safe",
    "table",
    "verdicts",
]
