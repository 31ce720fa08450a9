"""Component families behind the same loop: Gaussian, Student-t, Rician, categorical."""
