"""Gaps between groups of people, exposure of groups of items, its concentration, drawn."""

from collections.abc import Mapping, Sequence
from itertools import product

from matplotlib.ticker import PercentFormatter

from workbench.evaluation import Evaluation, Gap, ItemGroup, label, lorenz
from workbench.reporting.display import Figure
from workbench.reporting.figures import INK, MARK, SOFT, canvas, forest_rows


def gaps_forest(gaps: Sequence[Gap], effect: float) -> Figure:
    """Each group minus everybody else. A hollow mark: too few people to say."""
    figure, axes = canvas(7.5, 0.7 + 0.27 * len(gaps))
    forest_rows(axes, [(gap.dimension, gap.difference, gap.verdict(effect) == "too few to say") for gap in gaps])
    axes.set_yticks(range(len(gaps)), [f"{gap.label}   n {gap.value.n:,}" for gap in gaps], color=INK, fontsize=8)
    name = label(gaps[0].metric)
    axes.set_xlabel(f"{name}: the group minus everybody else", color=SOFT)
    told = "; ".join(f"{gap.label}: {gap.difference.text(sign=True)}, {gap.value.n} people" for gap in gaps)
    caption = (
        f"{name} of each group minus that of everybody else; the intervals hold for all groups together. Hollow: too few people to say; no "
        f"difference was seen, and one of {effect:g} is not excluded."
    )
    return Figure(figure, "groups", f"{caption} {told}.", caption)


def exposure_figure(found: Mapping[str, Sequence[ItemGroup]]) -> Figure:
    """Share of the attention beside the share of what was liked, a row for each group of items."""
    rows = [(f"{name}: {each.group}", each) for name, groups in found.items() for each in groups]
    figure, axes = canvas(7.5, 0.9 + 0.27 * len(rows))
    for row, (_, each) in enumerate(rows):
        axes.plot([each.merit.value, each.exposure.value], [row, row], color=SOFT, linewidth=0.8)
        axes.plot([each.exposure.low, each.exposure.high], [row, row], color=MARK, linewidth=1.8)
    axes.plot([each.merit.value for _, each in rows], range(len(rows)), "|", color=INK, markersize=9, label="of what was liked")
    axes.plot([each.exposure.value for _, each in rows], range(len(rows)), "o", color=MARK, markersize=5.5, label="of the attention")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], color=INK, fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("share", color=SOFT)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    told = "; ".join(f"{name}: {each.exposure.value:.1%} of the attention, {each.merit.value:.1%} of what was liked" for name, each in rows)
    caption = "Each group's share of the attention, with 95 % intervals over people, beside its share of what people then liked."
    return Figure(figure, "exposure", f"{caption} {told}.", caption)


def lorenz_figure(results: Mapping[str, Evaluation], k: int) -> Figure:
    """Share of the places that the least shown items hold, a line for each model."""
    figure, axes = canvas(7.5, 3.4)
    styles = product(("-", "--", ":", "-."), (MARK, INK, SOFT))
    for result, (style, colour) in zip(results.values(), styles, strict=False):
        axes.plot(*zip(*lorenz(result.top[:, :k], result.n_items), strict=True), style, color=colour, linewidth=1.6, label=result.title)
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.8, linestyle=":")
    axes.set_xlabel("share of the catalogue, least shown first", color=SOFT)
    axes.set_ylabel("share of the places", color=SOFT)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False, fontsize=8)
    held = {result.title: 1 - lorenz(result.top[:, :k], result.n_items, [0.9])[0][1] for result in results.values()}
    told = "; ".join(f"{title}: the most shown tenth of the catalogue holds {share:.0%} of the places" for title, share in held.items())
    caption = f"Lorenz curves of the first {k} places: the further below the dotted line, the fewer items share them."
    return Figure(figure, "lorenz", f"{caption} {told}.", f"{caption} {told}.")
