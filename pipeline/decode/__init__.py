"""Decoding of clips to upright RGB frames, in worker processes that can be killed.

In: a path or URL, sampling options and limits. Out: chunks of frames in shared memory and the outcome of the decoding,
or the header alone. Never known here: manifests, modalities, networks, torch.
"""
