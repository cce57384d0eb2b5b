"""Commands as they run and once they have ended: progress, logs, summaries, work left to do.

In: what stages report, the tables and shards of batches. Out: reports of progress, a log and a summary a command in the
workspace, the amount of work that is left, the time it will take. Never known here: Luigi, the words on the terminal.
"""
