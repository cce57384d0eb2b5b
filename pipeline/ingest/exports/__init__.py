"""Exports of other programs to records, and a record's cells to a manifest's.

In: folders of clips, yt-dlp's info.json, JSON and CSV of whatever program. Out: records with their place, cells that
have one reading, a manifest that is ready to be written. Never known here: what is in the clips.
"""
