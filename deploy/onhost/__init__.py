"""What happens on the server when a release is shipped. Standard library alone, Python 3.11 and later.

`python3 -B -m deploy.onhost …` in a release's folder; `deploy/release.py` starts it as the transient unit `searchapi-deploy`, whose
name is the lock: it goes on when the connection is cut, and journald has what it said.

    system.py       what touches the machine: systemd, and files that survive a power cut
    places.py       what is where: releases, slots, the live socket, what was done so far
    shift.py        deploy and rollback, step by step
    checks.py       what would stop a deploy later
    settling.py     undo and repair: everything made to agree with the live socket
    environment.py  a release's packages
    asking.py       questions to an instance over its own socket: readiness, searches
    copying.py      snapshot: a consistent copy of the data
    tidying.py      what is no longer needed
    telling.py      status and releases
"""
