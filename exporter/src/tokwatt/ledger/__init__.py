"""Readings in, monotone totals out: resets, wraps, gaps and interpolation. Pure: no clock, no I/O."""
