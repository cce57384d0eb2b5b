"""A world with a known truth: dancers, scenes, phones and likes, rendered to real video files."""
