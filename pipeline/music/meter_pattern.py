"""Mean pattern of a bar, usual tempi, and how far they are to be believed: weights of meter and beats.

Written by `python -m simulation.training.meter_training`, which fits them to synthesised tracks.
"""

import numpy as np

# A row a sixteenth of a bar, from its first beat: onset strength below 190, 440, 1,040 and 2,940 Hz and above, change
# of harmony, level of the bass.
PATTERN = np.array(
    [
        [0.94, -0.15, 0.30, 0.08, -0.18, 0.51, 0.52],
        [-0.08, 0.13, -0.09, -0.22, -0.29, 0.13, 0.18],
        [-0.81, -0.08, 0.15, -0.30, -0.10, 0.16, -0.27],
        [0.03, 0.07, -0.02, 0.39, 0.12, -0.10, 0.11],
        [0.06, -0.21, -0.35, 0.23, 0.60, -0.19, -0.28],
        [-0.18, 0.11, 0.25, -0.26, -0.37, -0.13, -0.36],
        [-0.03, 0.39, 0.11, -0.11, 0.07, -0.22, -0.25],
        [0.51, 0.14, 0.03, -0.23, -0.43, -0.01, -0.10],
        [0.56, 0.02, -0.17, -0.30, 0.16, 0.11, 0.03],
        [-0.17, 0.03, 0.02, -0.04, -0.01, -0.27, -0.21],
        [0.22, -0.18, -0.11, 0.34, 0.30, -0.15, 0.42],
        [-0.28, 0.18, 0.18, 0.02, 0.13, -0.02, -0.45],
        [-0.14, 0.05, -0.29, 0.29, 0.50, -0.10, -0.02],
        [-0.27, 0.01, 0.04, 0.02, -0.51, -0.02, -0.15],
        [0.07, -0.27, 0.17, 0.07, -0.18, -0.05, 0.28],
        [-0.42, -0.23, -0.23, 0.03, 0.18, 0.34, 0.56],
    ],
    np.float32,
)
TEMPO = np.array([11.51, 0.36, -8.10], np.float32)  # strength, octaves above tempo.PREFERRED_BPM, their square
# Logistic regressions of beats.tempo_evidence and beats.beat_evidence.
TEMPO_ODDS = np.array([-1.21, 0.74, 0.71, 6.73])
BEAT_ODDS = np.array([-1.56, 0.85, 1.61, 1.38])
