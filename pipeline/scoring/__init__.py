"""Scores of clips by a finished run: with intervals, for new uploads, and for recommendation.

In: a run and clips with features. Out: tables of scores, embeddings, recommended clips. Never known here: how training
works, how scores are evaluated.
"""
