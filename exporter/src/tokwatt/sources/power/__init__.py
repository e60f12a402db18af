"""Meters: one file each, declaring a `SPEC`."""
