"""Music that the dancers dance to, synthesised, and the sound of a clip: what an upload makes of it."""
