"""What a phone makes of a scene: camera shots, exposure, captions, a video file; and what of the dancer is visible."""
