"""Networks that look at frames, and one that hears: pose, face, scene, appearance, audio.

In: uint8 frames of any mix of clips, and weights. Out: one result a frame or a person. Never known here: clips, files,
what results are used for.
"""
