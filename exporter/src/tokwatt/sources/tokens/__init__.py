"""Inference servers: one spec file each (`<engine>.toml`), read by one scraper."""

from tokwatt.sources.tokens._files import specs

__all__ = ["specs"]
