"""The modalities: each one's columns, row assembly, quality, profile entry, extractor and model input, in one module.

In: frames' results or rows of one clip. Out: rows, arrays and model input. Never known here: workspaces, shard files,
labels.
"""
