"""A world with a known truth: dancers, scenes, phones and likes, rendered to real video files.

In: a world's options and a seed. Out: clips, a manifest, and the truth beside them. Never known here: how features
become scores. No stage of the pipeline imports this package: only tasks, tests and benchmarks do.
"""
