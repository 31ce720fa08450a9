"""Phantom, demo, comparison with a truth."""
