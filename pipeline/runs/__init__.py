"""Trained models as folders: written, named, found, loaded, deleted.

In: a fitted model, or a run's id or name. Out: `runs/<id>/` and its files. Never known here: how scores are judged or
shown.
"""
