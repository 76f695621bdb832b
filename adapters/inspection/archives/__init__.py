"""Containers: what may be inside, and what is."""
