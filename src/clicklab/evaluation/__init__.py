"""Measuring: the simulated user plays objects in lockstep; metrics, journal, results."""
