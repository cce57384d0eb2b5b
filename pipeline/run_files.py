"""Names of the files in a run's folder. Imports nothing, so that a run without work stays quick."""

SCORES = "scores.parquet"
METRICS, FOLDS = "metrics.json", "folds.parquet"
