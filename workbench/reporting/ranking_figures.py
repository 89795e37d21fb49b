"""The funnel and the reliability of probabilities, drawn."""

from collections.abc import Mapping, Sequence

from matplotlib.ticker import PercentFormatter

from workbench.evaluation import Calibration, label
from workbench.ranking import Loss
from workbench.reporting.display import Figure
from workbench.reporting.figures import INK, MARK, SOFT, canvas


def funnel(losses: Sequence[Loss], metric: str, title: str) -> Figure:
    """A bar for each slice, in parts that add up to 1: what the list has, what the ranker lost, what retrieval lost."""
    figure, axes = canvas(7.5, 0.9 + 0.3 * len(losses))
    parts = [("in the list", [each.left.value for each in losses], MARK)]
    if any(each.policy for each in losses):
        parts.append(("lost by policy", [each.policy.value if each.policy else 0.0 for each in losses], INK))
    parts += [
        ("lost by ranking", [each.ranking.value for each in losses], "#9db8e8"),
        ("lost by retrieval", [each.retrieval.value for each in losses], "#d5d9de"),
    ]
    starts = [0.0] * len(losses)
    for name, values, colour in parts:
        axes.barh(range(len(losses)), values, left=starts, color=colour, height=0.66, label=name)
        starts = [start + value for start, value in zip(starts, values, strict=True)]
    axes.set_yticks(range(len(losses)), [f"{each.group}   n {each.n:,}" for each in losses], color=INK, fontsize=8)
    axes.set_ylim(len(losses) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"{label(metric)} of the best list there could be", color=SOFT)
    axes.legend(frameon=False, fontsize=8, ncols=len(parts), loc="lower left", bbox_to_anchor=(0, 1))
    told = "; ".join(
        f"{each.group}: {each.left.value:.3f} in the list, lost {each.ranking.value:.3f} by ranking, {each.retrieval.value:.3f} before"
        for each in losses
    )
    caption = (
        f"Where {label(metric)} is lost with {title}. By retrieval: what is liked is not among the candidates. By ranking: it is, and is "
        "put too low. A slice of items counts these alone as relevant."
    )
    return Figure(figure, "funnel", f"{caption} {told}.", caption)


def reliability(found: Mapping[str, Calibration]) -> Figure:
    """A line for each way of making probabilities: what came true against what was said; counts are in the caption and the alternative
    text."""
    figure, axes = canvas(7.5, 3.6)
    bins = [each for calibration in found.values() for each in calibration.bins]
    most = max(max(each.mean, each.share.value) for each in bins)
    axes.plot([0, most], [0, most], color=SOFT, linewidth=0.8, linestyle=":")
    for (name, calibration), colour, style in zip(found.items(), (MARK, INK, SOFT), ("-", "--", "-."), strict=False):
        said, true = [each.mean for each in calibration.bins], [each.share for each in calibration.bins]
        axes.plot(said, [each.value for each in true], style, color=colour, linewidth=1.5, marker="o", markersize=4, label=name)
        axes.vlines(said, [each.low for each in true], [each.high for each in true], color=colour, linewidth=1)
    axes.set_xlabel("probability said", color=SOFT)
    axes.set_ylabel("share that came true", color=SOFT)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False, fontsize=8)
    told = "; ".join(
        f"{name}: " + ", ".join(f"said {each.mean:.1%}, came true {each.share.value:.1%} of {each.count:,}" for each in calibration.bins)
        for name, calibration in found.items()
    )
    sizes = sorted({each.count for each in bins})
    counted = f"{sizes[0]:,} to {sizes[-1]:,}" if len(sizes) > 1 else f"{sizes[0]:,}"
    caption = (
        f"What came true against what was said, candidates of the test part in groups of about equal size ({counted} in each), with 95 % "
        "intervals over people. On the dotted line they agree."
    )
    return Figure(figure, "reliability", f"{caption} {told}.", caption)
