"""What hardware that was bought costs by the second. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from tokwatt.quantities import Dollars, DollarsPerSecond, Seconds

SECONDS_PER_YEAR: Final = 8766 * 3600.0  # 365.25 days


@dataclass(frozen=True, slots=True)
class Purchase:
    """Terms of hardware that was bought, in dollars, years, and parts of 1."""

    purchase_dollars: float
    years: float
    residual_dollars: float = 0.0  # what it is sold for in the end
    maintenance_ratio_per_year: float = 0.0  # of the purchase price
    interest_ratio_per_year: float = 0.0
    utilisation_ratio: float = 1.0  # part of all hours in which it is in service and charged


def dollars_per_year(purchase: Purchase) -> float:
    """Equal yearly payments that repay the purchase with interest, less the resale at the end, plus maintenance.

    (P - R / (1 + i)^n) * i / (1 - (1 + i)^-n) + m * P; without interest (P - R) / n + m * P.
    """
    price, years, interest = purchase.purchase_dollars, purchase.years, purchase.interest_ratio_per_year
    maintenance = purchase.maintenance_ratio_per_year * price
    if interest == 0:
        return (price - purchase.residual_dollars) / years + maintenance
    growth = math.pow(1 + interest, years)
    present = price - purchase.residual_dollars / growth
    return present * interest / (1 - 1 / growth) + maintenance


def dollars_per_second(purchase: Purchase) -> DollarsPerSecond:
    """Price of a second in service: these seconds carry the whole year."""
    return Dollars(dollars_per_year(purchase)) / Seconds(SECONDS_PER_YEAR * purchase.utilisation_ratio)
