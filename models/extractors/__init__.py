"""Networks that look at frames: pose, face, scene, appearance.

In: uint8 frames of any mix of clips, and weights. Out: one result a frame or a person. Never known here: clips, files,
what results are used for.
"""
