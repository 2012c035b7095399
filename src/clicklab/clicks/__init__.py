"""Clicks: maps, distances, the next click; points and nothing else."""
