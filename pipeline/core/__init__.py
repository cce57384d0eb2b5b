"""Foundations of every stage: errors, options, storage, fingerprints, child processes.

In: paths, URLs and plain values. Out: files that appear whole or not at all, fingerprints, and errors that users can
act on. Never known here: how a clip is decoded, modalities, networks.
"""
