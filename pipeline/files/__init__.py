"""Files of a workspace: JSON, Parquet, tensors and tables for people, each with a checksum.

In: a folder of the workspace and a name in it; content to write. Out: content as it was written, or the name of the
file that is damaged. Never known here: what the files are about.
"""
