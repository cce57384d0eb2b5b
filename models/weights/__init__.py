"""Weights and the profiles that choose them: catalogue, download, verification, loading.

In: a profile's name or TOML file. Out: checked options, and state dicts that could run no code. Never known here: the
networks that the weights are for.
"""
