"""One image onto another: contrasts of the same person onto the T1w, sessions onto their middle."""
