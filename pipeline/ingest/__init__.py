"""Manifest files to a checked table of clips: probed, hashed, each assigned to a shard.

In: CSV or Parquet manifests. Out: one table a batch in `clips/`. Never known here: frames, features, labels.
"""
