"""Search for the faces in frames: MTCNN's cascade of three networks, and the pyramid of pictures that it looks at.

In: uint8 frames on a device. Out: boxes, landmarks and probabilities. Never known here: clips, embeddings, crops.
"""
