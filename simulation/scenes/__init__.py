"""Eight kinds of place that dances are filmed in, furnished at random and drawn by a camera."""
