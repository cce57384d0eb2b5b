"""Shards of a batch spread over the machines of a Ray cluster.

In: the shards that a batch lacks, and all that their extraction needs. Out: their files in the workspace, as one
machine would write them, whichever machines and processes died meanwhile. Never known here: how frames become rows,
which modalities there are, Luigi.
"""
