"""Access to clips' files: which of them may be read, and the reading of those that lie elsewhere.

In: uris of a manifest, patterns of what the user allows beyond the rules. Out: metadata of files, and their bytes in a
file of this machine, each within a deadline and a limit. Never known here: films, manifests, networks.
"""
