"""Ratings and the review server."""
