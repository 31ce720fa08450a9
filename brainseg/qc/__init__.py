"""Quality control: the report of a scan, the page of a study, the review."""
