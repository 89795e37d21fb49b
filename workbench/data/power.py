"""How small a difference between two models a number of people can show."""

import math
from statistics import NormalDist

POWER = 0.8
PLANNING_SD = 0.14
"""Standard deviation over people of a difference in NDCG@10, for planning before any model ran: EASE minus item-kNN on ML-100k by
`user_time` (`python -m benchmarks.data` prints it). Models that are more alike differ less, and smaller differences show."""


def detectable_difference(n: int, sd: float = PLANNING_SD, level: float = 0.95, power: float = POWER) -> float:
    """The smallest true mean difference that `n` people show with this power in a paired comparison; infinite for fewer than two.

    (z(level) + z(power)) · sd / √n; two-sided. Lehr, Statistics in Medicine 1992, for the paired case.
    """
    if n < 2:
        return math.inf
    normal = NormalDist()
    return (normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(power)) * sd / math.sqrt(n)
