"""A service that scores clips over HTTP: `python -m pipeline.serve --run june`.

In: a finished run, and requests with a clip or its uri. Out: scores with intervals, parts and reasons, as JSON; nothing
is kept. Never known here: how clips are decoded, extracted and scored, which is as for uploads; other commands.
"""
