"""The work between a manifest and a report, one package a stage, in the order of the data.

core, files, access, decode, music, modalities, ingest, features, extraction, cluster, dataset, training, runs, metrics,
scoring, evaluation, feedback, report, commands, purge: a package imports those before it, never those after it
(tests/test_architecture.py). None of them knows Luigi.
"""
