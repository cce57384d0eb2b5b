"""Shards and folds spread over the machines of a Ray cluster.

In: the shards that a batch lacks and all that their extraction needs; functions and their arguments. Out: the shards'
files in the workspace and the functions' values, as one machine would give them, whichever machines and processes died
meanwhile. Never known here: how frames become rows, which modalities there are, what a fold is, Luigi.
"""
