"""Workspaces in Python: tables and tensors to read, commands to run with their progress.

In: the path or URL of a workspace, options of a command. Out: tables, tensors and runs; the outcome of a command, which
runs in a process of its own. Never known here: how anything in a workspace is made, Luigi's tasks.
"""
