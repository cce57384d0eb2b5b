"""Parquet shards of features: what is missing, written whole, read back as tensors.

In: the ingested clips of a batch, rows of a modality. Out: one shard file a modality, and how each clip ended. Never
known here: which modalities there are, networks, labels, the use of features.
"""
