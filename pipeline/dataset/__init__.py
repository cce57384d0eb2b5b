"""Batches joined into one dataset: which clips, with which label and split, from which files.

In: ingest tables, endings and shards. Out: `datasets/<id>/`, and its clips as padded model input. Never known here:
networks, losses, runs.
"""
