"""What every room may use: volumes, masks, metrics, steps, threads, assets. Knows no files."""
