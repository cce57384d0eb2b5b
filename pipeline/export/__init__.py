"""A run's clips, features and scores, and its model, in the formats of other programs.

In: a finished run. Out: a folder outside the workspace. Never known here: those programs themselves, which only tests
and users import.
"""
