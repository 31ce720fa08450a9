"""HTML pages: report, group, explain, models."""
