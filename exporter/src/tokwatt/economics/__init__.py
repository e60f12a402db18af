"""Totals and prices to attribution, dollars and live ratios. Pure: no clock, no I/O."""
