"""Networks that hear a clip: log-mel spectra of its sound, and embeddings of windows of it.

In: float sound of one clip, and weights. Out: one embedding a window. Never known here: clips, files, beats, what
results are used for.
"""
