"""Frames of clips to Parquet shards of features, and back to rows and tensors.

In: the plan of what a batch lacks, frames from the decode workers, one extractor a modality. Out: one shard file a
modality, and how each clip ended. Never known here: which modalities there are, labels, the use of features.
"""
