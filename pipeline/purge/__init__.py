"""Clips taken out of a workspace for good: takedown and erasure.

In: ids of clips or creators. Out: a workspace that holds nothing of them but tombstones, and the proof of that. Never
known here: how anything that is taken out was made; manifests and clips' files are read, and never changed.
"""
