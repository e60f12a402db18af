"""Names of quantities. At run time each is a plain float: `Joules(3)` is `3.0`.

What mypy knows of them, and so what may be added to, divided by or passed as what, is in quantities.pyi (ADR 14).
"""

from __future__ import annotations

# energy and power
Joules = float
Watts = float
# time
Seconds = float
# money
Dollars = float
DollarsPerSecond = float  # capacity: the price of having hardware
DollarsPerJoule = float  # electricity
DollarsPerToken = float
# tokens
Tokens = float
TokensPerSecond = float
TokensPerJoule = float  # tokens per watt-second
TokensPerDollar = float
JoulesPerToken = float
