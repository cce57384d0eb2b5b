"""Music and motion of a clip as numbers: when kinematic beats fall against the music's.

In: times, joint positions, beats and onset strength as arrays. Out: lags and strengths over time, with their errors.
Never known here: files, networks, challenges, labels.
"""
