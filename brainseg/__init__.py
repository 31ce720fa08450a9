"""Tissue maps from MRI scans of heads."""

__version__ = "0.1.0"
