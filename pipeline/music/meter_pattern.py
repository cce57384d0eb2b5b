"""Mean pattern of a bar, usual tempi, and how far they are to be believed: weights of meter.py and beats.py.

Written by `python -m simulation.training.meter_training`, which fits them to synthesised tracks.
"""

import numpy as np

# A row a sixteenth of a bar, from its first beat: onset strength below 190, 440, 1,040 and 2,940 Hz and above, change
# of harmony, level of the bass.
PATTERN = np.array(
    [
        [1.03, -0.16, 0.23, 0.03, -0.23, 0.46, 0.58],
        [-0.07, 0.16, -0.05, -0.26, -0.28, 0.04, 0.12],
        [-0.79, -0.02, 0.10, -0.31, -0.09, 0.13, -0.33],
        [-0.02, 0.10, -0.04, 0.45, 0.16, -0.00, 0.15],
        [0.02, -0.29, -0.42, 0.25, 0.65, -0.16, -0.22],
        [-0.25, 0.03, 0.22, -0.26, -0.24, -0.15, -0.46],
        [-0.12, 0.36, 0.19, -0.05, -0.03, -0.16, -0.33],
        [0.53, 0.22, 0.04, -0.26, -0.41, -0.07, -0.11],
        [0.55, -0.06, -0.21, -0.22, 0.09, 0.19, 0.05],
        [-0.13, 0.06, 0.11, -0.07, -0.01, -0.31, -0.28],
        [0.16, -0.14, -0.22, 0.26, 0.41, -0.09, 0.43],
        [-0.19, 0.16, 0.20, 0.03, 0.02, -0.03, -0.44],
        [-0.12, -0.02, -0.27, 0.17, 0.45, 0.12, -0.05],
        [-0.24, 0.09, 0.11, 0.01, -0.54, -0.04, -0.11],
        [0.03, -0.25, 0.13, 0.21, -0.18, -0.07, 0.37],
        [-0.39, -0.25, -0.13, 0.00, 0.24, 0.12, 0.62],
    ],
    np.float32,
)
TEMPO = np.array([11.07, -0.12, -7.94], np.float32)  # strength, octaves above tempo.PREFERRED_BPM, their square
# Logistic regressions of beats.tempo_evidence and beats.beat_evidence.
TEMPO_ODDS = np.array([-3.99, 8.49, 1.51, 1.63, -0.44])
BEAT_ODDS = np.array([-3.34, 0.54, 0.83, 1.38])
