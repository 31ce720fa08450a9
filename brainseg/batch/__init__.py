"""Studies: which scans there are, which are done, and engines that do the rest."""
