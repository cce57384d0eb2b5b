"""Batches joined into one dataset: its clips, with their labels, splits and files.

In: ingest tables, endings and shards. Out: `datasets/<id>/`, and its clips as padded model input. Never known here:
networks, losses, runs.
"""
