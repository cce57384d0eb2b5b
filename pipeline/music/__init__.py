"""Music and motion of a clip as numbers: its tempo and beats, its fingerprint, and the dancer's beats against them.

In: log-mel spectra, times and joint positions as arrays. Out: beats, fingerprints, lags and strengths over time, with
confidences and errors.
Never known here: files, networks, challenges, labels.
"""
