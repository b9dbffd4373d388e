"""Shipping searchapi to servers: `fabfile.py` has the tasks, here is what they do.

Pure: `inventory` (which server), `commands` (argv lists), `render` (file texts). Over a connection: `connection`, `machine` (what a
server is, made so), `provision` (all that a server needs), `release` (shipping). On the server itself: `onhost`.
"""
