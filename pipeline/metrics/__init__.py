"""Ranking metrics of scores, with intervals and tests: pure functions of arrays.

In: scores, labels, challenges and creators as arrays. Out: metrics, intervals, p-values. Never known here: files, runs,
models.
"""
