"""Scores for samples: how good, how many modes, how far from the data."""
