"""Articulated dancers: bodies, faces, clothes, and how each performs a choreography."""
