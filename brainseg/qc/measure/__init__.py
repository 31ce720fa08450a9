"""Quality numbers and verdicts."""
