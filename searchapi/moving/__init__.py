"""Moving data: from one engine to another, to a dump and back, and out of an index of OpenSearch that we did not make.

    ends.py       the engine that a URL names, and what else can be moved from (`Source`)
    copying.py    one index: read in the order of ids, then what changed meanwhile; memory.py: how far it is, in a small file
    verifying.py  both sides compared, document by document; searches.py: a sample of searches, asked on both
    records.py    aliases and keys
    dump.py       the form of a dump; dumping.py writes one, loading.py reads it
    adopting.py   an index that we did not make; foreign.py reads it, inferring.py makes settings of its mapping
    moves.py      the whole of a move: what `migrate` and `load` do

Every step may be done again: a document is written only where it differs, so whatever is killed is begun again by the same command.
"""
