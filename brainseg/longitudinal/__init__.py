"""One person over time: sessions segmented together, so that only the tissue can differ."""
