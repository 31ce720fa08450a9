"""What a head looks like: the network, its views, the brain mask, plausibility."""
