"""The eight kinds of place that dances are filmed in: furnished by chance, drawn by a camera."""
