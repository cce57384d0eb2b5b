"""Frames of clips through the networks: decoded once, in batches across clips.

In: the plan of what a batch lacks, frames from the decode workers, one extractor a modality. Out: whole shards of
features, and how each clip ended. Never known here: which modalities there are, how rows are stored, labels.
"""
