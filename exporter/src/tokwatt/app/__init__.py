"""Composition root: builds everything, serves HTTP, owns signals and the command line."""
