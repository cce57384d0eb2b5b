"""Names of the files in a run's folder, and constants of run.json. Imports nothing: planning stays quick."""

RUN_SCHEMA = 4  # of run.json; raised when it or the files beside it change meaning
INTERVAL_LEVEL = 0.8  # share of new creators' clips that a score's interval is to hold; run.json keeps it
RUN, MODEL, HELD_OUT = "run.json", "model.safetensors", "held_out.parquet"
SCORES, SCORES_CSV = "scores.parquet", "scores.csv"
REPORT = "report.html"
METRICS, FOLDS, FOLDS_ABOUT = "metrics.json", "folds.parquet", "folds.json"
TABLE, ABLATIONS = "table", "ablations"  # each as .md and .tex; ablations as .parquet, too
FEEDBACK = "feedback"  # a folder: of each clip asked for a .json and an .mp4
