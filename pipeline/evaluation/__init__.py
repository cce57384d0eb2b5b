"""Evaluation of runs on creators they never saw: protocols, baselines, ablations, tables, figures.

In: a dataset and a run. Out: `folds.parquet`, `metrics.json`, tables and figures in the run's folder. Never known here:
uploads, feedback, the report's page.
"""
