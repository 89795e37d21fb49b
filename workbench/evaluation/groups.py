"""Groups of the people judged, for slices."""

from torch import Tensor

from workbench.data import Holdout

ACTIVITY = (0, 1, 20, 50, 100, 200)
"""Edges of the activity groups, in events known of a person."""


def by_activity(holdout: Holdout) -> dict[str, Tensor]:
    """bool (n,) for each band of history length that has somebody in it."""
    lengths = holdout.history_lengths
    groups = {}
    for low, high in zip(ACTIVITY, (*ACTIVITY[1:], None), strict=True):
        name = "no history" if high == 1 else f"{low} to {high - 1} events" if high else f"{low} events and more"
        members = (lengths >= low) & (lengths < high) if high else lengths >= low
        if members.any():
            groups[name] = members
    return groups
