"""Tissue tables, the tissue model and its fit inside a brain mask."""
