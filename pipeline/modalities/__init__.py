"""The modalities, a module each: columns, row assembly, quality, extractor, model input.

In: frames' results or rows of one clip. Out: rows, arrays and model input. Never known here: workspaces, shard files,
labels.
"""
