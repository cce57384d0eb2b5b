"""Music and motion of a clip as numbers: tempo, beats, fingerprint, the dancer against them.

In: log-mel spectra, times and joint positions as arrays. Out: beats, fingerprints, lags and strengths over time, with
confidences and errors.
Never known here: files, networks, challenges, labels.
"""
