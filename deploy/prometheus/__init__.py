"""Prometheus rules and alerts of tokwatt: tables, generator, and the files they write."""
