"""Shipping searchapi to servers: `fabfile.py` has the tasks, here is what they do.

Pure: `inventory` (which server), `commands` (argv lists), `render` (file texts), `web` and `units` (which files), `envfile`
(settings). Over a connection: `connection`, `machine` (what a server is, made so), `guard` (what could lock us out), `provision`
(all that a server needs; its topics are in `topics` and `https`), `release` (shipping). On the server itself: `onhost`.
"""
