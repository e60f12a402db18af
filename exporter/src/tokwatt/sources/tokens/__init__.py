"""Inference servers: one spec file each, read by one scraper."""
