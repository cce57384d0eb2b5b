"""A dataset to a trained model in memory: encoders, the joint model, checkpoints on the way.

In: model input of labelled clips. Out: a fitted model and its scores of clips held out. Never known here: where runs
are kept, reports, uploads.
"""
