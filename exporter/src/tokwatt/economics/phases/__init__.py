"""Splits one server's energy between prefill and decode. Pure: ticks in, shares out.."""
