"""Names of the files in a run's folder. Imports nothing, so that a run without work stays quick."""

RUN_SCHEMA = 4  # of run.json; raised when it or the files beside it change meaning
RUN, MODEL, HELD_OUT = "run.json", "model.safetensors", "held_out.parquet"
SCORES, SCORES_CSV = "scores.parquet", "scores.csv"
REPORT = "report.html"
METRICS, FOLDS, FOLDS_ABOUT = "metrics.json", "folds.parquet", "folds.json"
TABLE, ABLATIONS = "table", "ablations"  # each as .md and .tex; ablations as .parquet, too
FEEDBACK = "feedback"  # a folder: of each clip asked for a .json and an .mp4
