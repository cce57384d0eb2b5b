"""Filming of a scene by a phone: camera shots, exposure, captions, a video file; and the labels of its frames."""
