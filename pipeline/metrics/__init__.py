"""How well scores order clips, and how certain that is: pure functions of arrays.

In: scores, labels, challenges and creators as arrays. Out: metrics, intervals, p-values. Never known here: files, runs,
models."""
