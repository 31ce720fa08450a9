"""The registered head atlas: its registration, its maps on a scan."""
