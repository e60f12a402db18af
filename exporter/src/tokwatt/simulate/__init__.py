"""Simulated inference servers and meters for `tokwatt demo`, with known ground truth. Never used by `tokwatt run`."""
