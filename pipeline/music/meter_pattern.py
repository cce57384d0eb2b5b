"""Mean pattern of a bar, and usual tempi, as weights of pipeline.music.meter's scores.

Written by `python -m simulation.training.meter_training`, which fits them to synthesised tracks.
"""

import numpy as np

# Sixteenths of a bar from its first beat; onset strength below 190, 440, 1040 and 2,940 Hz and above, change of harmony,
# level of the bass.
PATTERN = np.array(
    [
        [1.29, -0.23, 0.08, 0.10, -0.17, 0.44, 0.66],
        [-0.18, 0.13, -0.01, -0.23, -0.19, 0.10, 0.08],
        [-0.79, -0.00, 0.12, -0.39, 0.02, 0.10, -0.19],
        [-0.04, -0.02, 0.03, 0.49, 0.04, -0.03, -0.01],
        [-0.15, -0.06, -0.35, 0.21, 0.49, -0.07, -0.38],
        [-0.29, 0.11, 0.16, -0.16, -0.28, -0.18, -0.50],
        [0.19, 0.20, 0.17, -0.06, -0.01, -0.17, -0.26],
        [0.50, 0.22, -0.07, -0.22, -0.30, -0.09, -0.15],
        [0.29, -0.02, -0.27, -0.20, 0.37, 0.26, -0.10],
        [0.09, 0.04, 0.25, -0.13, 0.01, -0.47, -0.25],
        [0.15, -0.14, -0.19, 0.30, 0.37, -0.07, 0.33],
        [-0.07, 0.21, 0.05, 0.18, -0.05, -0.01, -0.34],
        [-0.12, -0.12, -0.25, 0.24, 0.32, 0.09, -0.06],
        [-0.36, 0.21, 0.29, -0.12, -0.69, -0.01, -0.11],
        [-0.07, -0.22, 0.21, 0.05, -0.24, -0.03, 0.46],
        [-0.45, -0.30, -0.23, -0.06, 0.30, 0.15, 0.80],
    ],
    np.float32,
)
# Strength of the tempo, octaves above tempo.PREFERRED_BPM, their square.
TEMPO = np.array([12.44, 0.12, -8.31], np.float32)
