"""The three equations that the product exists for, as functions of quantities. Pure.

    tokens per joule  = tokens / energy = (tokens/s) / power
    tokens per dollar = (tokens/s) / ($/s of compute)
    $ per meaningful response = Et * A * Ct + Pt * Cp

Live gauges, `tokwatt calc` and `tokwatt measure` all use these. A denominator of 0 gives None: not known, and never
infinite.
"""

from __future__ import annotations

from tokwatt.quantities import (
    Dollars,
    DollarsPerJoule,
    DollarsPerSecond,
    DollarsPerToken,
    Joules,
    JoulesPerToken,
    Tokens,
    TokensPerDollar,
    TokensPerJoule,
    TokensPerSecond,
    Watts,
)


def tokens_per_joule(tokens: Tokens, energy: Joules) -> TokensPerJoule | None:
    """Tokens per watt-second of a stretch of time."""
    return tokens / energy if energy > 0 else None


def tokens_per_joule_at(rate: TokensPerSecond, power: Watts) -> TokensPerJoule | None:
    """Tokens per watt-second of a steady state."""
    return rate / power if power > 0 else None


def tokens_per_dollar(tokens: Tokens, cost: Dollars) -> TokensPerDollar | None:
    """Tokens per dollar of a stretch of time."""
    return tokens / cost if cost > 0 else None


def tokens_per_dollar_at(rate: TokensPerSecond, price: DollarsPerSecond) -> TokensPerDollar | None:
    """Tokens per dollar of a steady state; `price` is all that compute costs in a second."""
    return rate / price if price > 0 else None


def energy_price_per_token(electricity: DollarsPerJoule, efficiency: TokensPerJoule) -> DollarsPerToken | None:
    """Dollars of electricity in one token."""
    return electricity / efficiency if efficiency > 0 else None


def response_cost(tokens: Tokens, price: DollarsPerToken, support: Dollars) -> Dollars:
    """Dollars per meaningful response: Et * A * Ct + Pt * Cp.

    Args:
        tokens: Et * A, generated tokens that one meaningful response takes with all its attempts, reasoning included.
        price: Ct, dollars per generated token.
        support: Pt * Cp, dollars of pre- and post-processing (guardrails, embeddings) per response.
    """
    return price * tokens + support


def response_energy(tokens: Tokens, energy: JoulesPerToken, support: Joules) -> Joules:
    """Joules per meaningful response: the same with joules per generated token, and the joules of support."""
    return energy * tokens + support
