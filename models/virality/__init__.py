"""The virality model: PSGCN for poses, RTCN for sequences, the joint model's parts, and published baselines.

In: padded model input with masks. Out: scores, attention, embeddings. Never known here: files, labels, where the input
comes from.
"""
