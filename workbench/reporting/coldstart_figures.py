"""Curves over what is known, exploration and closed loops, drawn."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from matplotlib.figure import Figure as MplFigure

from workbench.coldstart import Curve, Explored, Round
from workbench.evaluation import label
from workbench.reporting.display import Figure
from workbench.reporting.figures import INK, MARK, SOFT, canvas, plain

STYLES = list(product(("-", "--", ":"), (MARK, INK, SOFT)))


def curves_figure(curves: Sequence[Curve], metric: str) -> Figure:
    """A line for each method over the depths, its 95 % interval as a ribbon, what regulars get at the right edge."""
    figure, axes = canvas(7.5, 3.8)
    depths = list(curves[0].by_depth)
    for curve, (style, colour) in zip(curves, STYLES, strict=False):
        found = [each.interval(metric) for each in curve.by_depth.values()]
        places = range(len(depths))
        axes.plot(places, [each.value for each in found], style, color=colour, linewidth=1.6, marker="o", markersize=3, label=curve.title)
        axes.fill_between(places, [each.low for each in found], [each.high for each in found], color=colour, alpha=0.08, linewidth=0)
        if curve.warm is not None:
            axes.plot(len(depths), curve.warm.mean(metric), "D", color=colour, markersize=4)
    ticks = [*map(str, depths), *(["regulars"] if curves[0].warm else [])]
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("events known of a new person", color=SOFT)
    axes.set_ylabel(label(metric), color=SOFT)
    axes.legend(frameon=False, fontsize=8)
    told = "; ".join(
        f"{curve.title}: " + ", ".join(f"{depth} known {each.mean(metric):.3f}" for depth, each in curve.by_depth.items())
        for curve in curves
    )
    caption = (
        f"{label(metric)} on test as more is known of the same new people, with 95 % intervals over people; the {len(curves)} methods with "
        "the highest means. Diamonds: the same people as regulars, on later events."
    )
    return Figure(figure, "curves", f"{caption} {told}.", caption)


def regret_figure(worlds: Sequence[Mapping[str, Explored]]) -> Figure:
    """Regret and cost so far, request by request, the means over worlds."""
    figure = MplFigure(figsize=(7.5, 3.2), layout="constrained")
    told = []
    for axes, what in zip(figure.subplots(1, 2), ("regret", "cost"), strict=True):
        plain(axes)
        for name, (style, colour) in zip(worlds[0], STYLES, strict=False):
            summed = np.mean([getattr(world[name], what) for world in worlds], axis=0)
            axes.plot(np.arange(1, len(summed) + 1), summed, style, color=colour, linewidth=1.6, label=name.replace("_", " "))
            told.append(f"{what} of {name.replace('_', ' ')} {summed[-1]:+.0f}")
        axes.axhline(0, color=SOFT, linewidth=0.6)
        axes.set_xlabel("requests", color=SOFT)
        axes.set_ylabel(f"{what}, clicks so far", color=SOFT)
    figure.axes[0].legend(frameon=False, fontsize=8)
    caption = (
        f"Clicks lost so far, expected, the mean of {len(worlds)} worlds. Regret: against the best item for each person. Cost: against "
        "never trying the cold items; below 0 it has paid."
    )
    return Figure(figure, "exploration", f"{caption} After the last request: {', '.join(told)}.", caption)


def loop_figure(loops: Mapping[str, Sequence[Sequence[Round]]]) -> Figure:
    """Coverage and likeness of lists round by round, a line for each loop, the mean over worlds."""
    figure, axes = canvas(7.5, 3.2)
    told = []
    for (title, worlds), colour in zip(loops.items(), (MARK, INK), strict=False):
        for key, name, style in (("coverage", "coverage", "-"), ("alike", "shared with another", "--")):
            values = np.mean([[getattr(each, key) for each in world] for world in worlds], axis=0)
            axes.plot(np.arange(1, len(values) + 1), values, style, color=colour, linewidth=1.6, label=f"{title}: {name}")
            told.append(f"{title}, {name}: from {values[0]:.2f} to {values[-1]:.2f}")
    axes.set_ylim(bottom=0)
    axes.set_xticks(range(1, 1 + max(len(world) for worlds in loops.values() for world in worlds)))
    axes.set_xlabel("round", color=SOFT)
    axes.set_ylabel("share", color=SOFT)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    caption = (
        "A recommender that learns from its own lists, round by round: the share of items in somebody's list, and how alike lists are."
    )
    return Figure(figure, "loop", f"{caption} {'; '.join(told)}.", caption)
