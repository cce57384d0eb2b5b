"""Feedback on a clip, compared with the best clips of its challenge.

In: a run, and the skeletons of a clip and of its references. Out: findings in words, and a film of two skeletons. Never
known here: pictures of people, the report's page.
"""
