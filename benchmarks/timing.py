"""How long work takes, ours and theirs taking turns, so that a machine that slows down slows both."""

import time
from collections.abc import Callable


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def taking_turns(*works: Callable[[], float], turns: int) -> list[float]:
    """Best of the seconds that each reports."""
    return [min(column) for column in zip(*([work() for work in works] for _ in range(turns)), strict=True)]
