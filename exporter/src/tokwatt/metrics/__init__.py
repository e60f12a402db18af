"""The catalogue of every metric family, and Snapshot to families."""
