"""Articulated dancers: bodies, faces, clothes, choreographies and their performance."""
