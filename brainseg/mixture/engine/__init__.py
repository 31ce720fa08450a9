"""Expectation-Maximisation on arrays: samples, densities, the loop, its acceleration, its start."""
