"""What mypy must reject, line by line, and what it must let pass. Read by test_units.py; never run."""

from tokwatt.quantities import (
    Dollars,
    DollarsPerJoule,
    DollarsPerToken,
    Joules,
    JoulesPerToken,
    Seconds,
    Tokens,
    TokensPerJoule,
    TokensPerSecond,
    Watts,
)

energy, power, time = Joules(3), Watts(2), Seconds(1)
tokens, cost = Tokens(4), Dollars(5)


def bill(energy: Joules, price: DollarsPerJoule) -> Dollars:
    return energy * price


def plain(number: float) -> float:
    return number


# sums, differences and comparisons of unlike quantities
sum_1 = energy + power  # error
sum_2 = tokens - cost  # error
sum_3 = energy + time * 2  # error
less_1 = energy < power  # error
less_2 = tokens >= cost  # error

# one handed over as another, or a bare number as a quantity
bill(power, DollarsPerJoule(1))  # error
bill(energy, DollarsPerToken(1))  # error
bill(3.0, DollarsPerJoule(1))  # error
wrong_1: Joules = power  # error
wrong_2: Joules = 3.0  # error

# a product or quotient that is no such thing
wrong_3: Joules = power * power  # error
wrong_4: Joules = power / time  # error
wrong_5: Watts = energy * time  # error
wrong_6: TokensPerJoule = tokens / power  # error
wrong_7: Dollars = tokens * energy  # error
wrong_8: Joules = energy + 1.5  # error
wrong_9: Joules = energy / energy  # error

# physics
fine_1: Joules = power * time + time * power
fine_2: Watts = energy / time
fine_3: TokensPerJoule | None = tokens / energy if energy > 0 else None
fine_4: TokensPerJoule = TokensPerSecond(3) / power
fine_5: float = energy / energy
fine_6: Dollars = bill(energy, DollarsPerJoule(1)) + tokens * DollarsPerToken(2)
fine_7: Joules = 2 * energy - energy / 2
fine_8: Joules = max(Joules(0), sum([energy, energy], Joules(0)))
fine_9: JoulesPerToken = JoulesPerToken(1 / TokensPerJoule(3))
fine_10: float = plain(energy) + plain(power)
