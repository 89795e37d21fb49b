"""The plots of the reports. No pyplot: nothing global, nothing shown twice."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MplFigure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter
from matplotlib.transforms import Bbox

from workbench.evaluation import Backtest, Comparison, Interval, label
from workbench.reporting.display import Figure
from workbench.retrieval import Frontier, Pick

INK, SOFT, MARK = "#1b1f24", "#57606a", "#0b57d0"


def canvas(width: float, height: float) -> tuple[MplFigure, Axes]:
    figure = MplFigure(figsize=(width, height))
    return figure, plain(figure.subplots())


def plain(axes: Axes) -> Axes:
    """Without a frame but for the line below."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(colors=SOFT, length=0)
    return axes


def forest_rows(axes: Axes, rows: Sequence[tuple[str, Interval, bool]]) -> None:
    """A mark with its interval for each (dimension, difference, unclear), hollow where it is unclear; lines between dimensions and at 0."""
    for row, (dimension, found, unclear) in enumerate(rows):
        colour = SOFT if unclear else MARK
        axes.plot([found.low, found.high], [row, row], color=colour, linewidth=1.6)
        axes.plot(found.value, row, "o", markersize=5.5, color=colour, markerfacecolor="white" if unclear else colour)
        if row and dimension != rows[row - 1][0]:
            axes.axhline(row - 0.5, color=SOFT, linewidth=0.4)
    axes.axvline(0, color=SOFT, linewidth=0.8)
    axes.set_ylim(len(rows) - 0.5, -0.5)


def _intervals(rows: Sequence[tuple[str, Interval]], what: str, least: float | None = 0.0) -> MplFigure:
    """A mark with its interval for each row, from `least` on."""
    figure, axes = canvas(7.5, 0.6 + 0.42 * len(rows))
    for row, (_, interval) in enumerate(rows):
        axes.plot([interval.low, interval.high], [row, row], color=MARK, linewidth=1.8)
        axes.plot(interval.value, row, "o", markersize=7, color=MARK)
    axes.set_yticks(range(len(rows)), [title for title, _ in rows], color=INK)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=least)
    axes.set_xlabel(what, color=SOFT)
    return figure


def forest(comparisons: Sequence[Comparison], titles: tuple[str, str], effect: float) -> Figure:
    """Differences by slice, with intervals. A hollow mark: too few people to see a difference that matters, and none seen."""
    figure, axes = canvas(7.5, 0.6 + 0.27 * len(comparisons))
    forest_rows(axes, [(c.dimension, c.difference, c.verdict(effect) == "too few to say") for c in comparisons])
    firsts = [row == 0 or c.dimension != comparisons[row - 1].dimension for row, c in enumerate(comparisons)]
    names = [
        f"{f'{c.dimension}:  ' if first else ''}{c.group}   n {c.difference.n:,}" for first, c in zip(firsts, comparisons, strict=True)
    ]
    axes.set_yticks(range(len(comparisons)), names, color=INK, fontsize=8)
    name = label(comparisons[0].metric)
    axes.set_xlabel(f"{name}: {titles[0]} minus {titles[1]}", color=SOFT)
    calls = Counter(c.verdict(effect) for c in comparisons)
    counted = ", ".join(f"{calls[call]} {call}" for call in ("better", "worse", "no difference", "too few to say") if calls[call])
    told = "; ".join(
        f"{c.dimension} {c.group}: {c.difference.text(sign=True)}, {c.difference.n} people" for c in comparisons if c.significant
    )
    return Figure(
        figure,
        "slices",
        f"Difference in {name}, {titles[0]} minus {titles[1]}, in {len(comparisons)} slices: {counted}.{f' {told}.' if told else ''}",
        f"Difference in {name} by slice; the intervals hold for all slices together, p-values are Holm-adjusted over them: {counted}. "
        f"Hollow: too few people to say; no difference was seen, and one of {effect:g} is not excluded.",
    )


def field(rows: Sequence[tuple[str, Interval]], metric: str) -> Figure:
    """One line for each model, best first."""
    figure = _intervals(rows, label(metric))
    told = "; ".join(f"{title}: {interval.text()}" for title, interval in rows)
    return Figure(
        figure,
        "field",
        f"{label(metric)} by model on the test part. {told}.",
        f"{label(metric)} on test with 95 % bootstrap intervals over people. That two overlap says little: comparisons are paired.",
    )


def long_tail(events_per_item: npt.NDArray[np.int64]) -> Figure:
    """Lorenz-like curve: share of events held by the most popular share of items."""
    counts = np.sort(events_per_item)[::-1]
    held = np.concatenate([[0.0], counts.cumsum() / counts.sum()])
    share = np.linspace(0, 1, len(held))
    figure, axes = canvas(7.5, 2.8)
    axes.plot(share, held, color=MARK, linewidth=1.8)
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.8, linestyle=":")
    axes.set_xlabel("share of the catalogue, most popular first", color=SOFT)
    axes.set_ylabel("share of events", color=SOFT)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    tenth, half = (float(np.interp(x, share, held)) for x in (0.1, 0.5))
    alt = f"The most popular tenth of the items holds {tenth:.0%} of the events, the most popular half {half:.0%}."
    return Figure(figure, "long_tail", alt, f"{alt} The dotted line is a catalogue without favourites.")


def timeline(counts: npt.NDArray[np.int64], cuts: Sequence[tuple[str, float]]) -> Figure:
    """Events in each week since the first one; `cuts` are named moments in days since then."""
    days = 7 * np.arange(len(counts))
    figure, axes = canvas(7.5, 2.4)
    axes.bar(days, counts, width=6.2, align="edge", color=MARK)
    for row, (name, day) in enumerate(cuts):
        axes.axvline(day, color=INK, linewidth=1)
        axes.annotate(name, (day, 1), (-4, -14 * row), ("data", "axes fraction"), "offset points", color=INK, ha="right", va="top")
    axes.set_ylim(0, counts.max() * 1.3)
    axes.set_xlabel("days since the first event", color=SOFT)
    axes.set_ylabel("events a week", color=SOFT)
    told = "".join(f"; {name} on day {day:.0f}" for name, day in cuts)
    alt = f"Events a week over {len(counts)} weeks, between {counts.min():,} and {counts.max():,}{told}."
    return Figure(figure, "timeline", alt, "Events a week, and where one moment for everyone would cut the log.")


def over_time(name: str, lines: Mapping[str, Sequence[float]], what: str, alt: str, caption: str) -> Figure:
    """Shares over the second to the last tenth of the events, a line for each name."""
    figure, axes = canvas(7.5, 2.6)
    for (title, values), colour, style in zip(lines.items(), (MARK, INK), ("-", "--"), strict=True):
        axes.plot(range(2, 2 + len(values)), values, style, color=colour, linewidth=1.8, label=title)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("tenth of the events, in order of time", color=SOFT)
    axes.set_ylabel(what, color=SOFT)
    axes.legend(frameon=False)
    return Figure(figure, name, alt, f"{alt} {caption}")


def curves(lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], what: str, told: str) -> Figure:
    """A line for each training, of (seconds, value): trainings of one model in one colour."""
    figure, axes = canvas(7.5, 3.2)
    styles = dict(zip(dict.fromkeys(title for title, _ in lines), product(("-", "--", ":"), (MARK, INK, SOFT)), strict=False))
    for title, points in lines:
        style, colour = styles.get(title, ("-.", SOFT))
        known = title in axes.get_legend_handles_labels()[1]
        axes.plot(*zip(*points, strict=True), style, color=colour, linewidth=1.5, marker=".", label=None if known else title)
    axes.set_xlabel("seconds of training, without judging", color=SOFT)
    axes.set_ylabel(f"{what} on validation", color=SOFT)
    axes.legend(frameon=False, fontsize=8)
    caption = f"{what} on validation after each epoch, against the seconds that training took so far; a line for each training."
    return Figure(figure, "learning", f"{caption} {told}.", caption)


def tradeoff(points: Sequence[tuple[str, Interval, Interval]], across: str, up: str, *, percent: bool = True) -> Figure:
    """A mark for each (title, across, up), with both intervals. percent: what goes across is a share."""
    figure, axes = canvas(7.5, 4.2)
    for _, x, y in points:
        axes.plot([x.low, x.high], [y.value, y.value], color=MARK, linewidth=1)
        axes.plot([x.value, x.value], [y.low, y.high], color=MARK, linewidth=1)
        axes.plot(x.value, y.value, "o", color=MARK, markersize=5)
    axes.set_xlabel(across, color=SOFT)
    axes.set_ylabel(up, color=SOFT)
    if percent:
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    _name_marks(axes, [(title, x.value, y.value) for title, x, y in points])
    told = "; ".join(f"{title}: {f'{x.value:.0%}' if percent else f'{x.value:.3f}'}, {y.value:.3f}" for title, x, y in points)
    beaten = [title for title, x, y in points if any(other.value > x.value and high.value > y.value for _, other, high in points)]
    best = [title for title, _, _ in points if title not in beaten]
    caption = f"{up} against {across.lower()}, with 95 % intervals. Nobody is ahead in both of {', '.join(best)}."
    return Figure(figure, "tradeoff", f"{caption} {told}.", caption)


def _name_marks(axes: Axes, marks: Sequence[tuple[str, float, float]]) -> None:
    """Each mark's title at the nearest place around it where no mark and no other title is; a line leads to one further off.

    A title for which there is no place within 52 points is left to the text.
    """
    axes.set_xlim(axes.get_xlim())  # the scale stays as it is now
    axes.set_ylim(axes.get_ylim())
    at = [axes.transData.transform((x, y)) for _, x, y in marks]
    taken = [Bbox.from_extents(x - 6, y - 6, x + 6, y + 6) for x, y in at]
    for title, x, y in marks:
        for distance, angle in product((8, 16, 26, 38, 52), range(20, 380, 40)):
            away = (distance * math.cos(math.radians(angle)), distance * math.sin(math.radians(angle)))
            side = "left" if away[0] > 0 else "right"
            text = axes.annotate(title, (x, y), away, textcoords="offset points", color=INK, fontsize=8, ha=side, va="center")
            box = text.get_window_extent()
            if axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and not any(box.overlaps(other) for other in taken):
                break
            text.remove()
        else:
            continue
        taken.append(box)
        if distance > 8:
            axes.annotate("", (x, y), away, textcoords="offset points", arrowprops={"arrowstyle": "-", "color": SOFT, "linewidth": 0.6})


def frontier_figure(frontier: Frontier, pick: Pick) -> Figure:
    """A bubble for each index: recall up, milliseconds of one query across, area by bytes an item."""
    figure, axes = canvas(7.5, 4.2)
    most = max(m.bytes_per_item for m in frontier.measured)
    for m, best in zip(frontier.measured, frontier.best, strict=True):
        colour = MARK if m is pick.measured else INK if best else SOFT
        axes.scatter(m.p50_ms, m.recall, s=20 + 380 * m.bytes_per_item / most, color=colour, alpha=0.55, linewidths=0)
        axes.plot([m.p50_ms, m.p99_ms], [m.recall, m.recall], color=colour, linewidth=0.8)
    axes.set_xscale("log")
    for named in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        named(StrMethodFormatter("{x:g}"))
    axes.set_xlabel("milliseconds of one query: the median, and a line to the 99th percentile", color=SOFT)
    axes.set_ylabel(f"recall@{frontier.k} against exact search", color=SOFT)
    shown = [m for m, best in zip(frontier.measured, frontier.best, strict=True) if best or m is pick.measured]
    _name_marks(axes, [(str(m.config), m.p50_ms, m.recall) for m in shown])
    told = "; ".join(
        f"{m.config}: recall {m.recall:.3f}, {m.p50_ms:.2f} ms, p99 {m.p99_ms:.2f} ms, {m.bytes_per_item:.0f} bytes an item" for m in shown
    )
    caption = (
        f"Indexes of {frontier.n_items:,} items: recall against the time of one query; the larger, the more memory. Dark: no other is as "
        f"good in everything. Blue: {pick.measured.config}, the one taken."
    )
    return Figure(figure, "frontier", f"{caption} {told}.", caption)


def windows_figure(names: Sequence[str], found: Backtest, titles: tuple[str, str]) -> Figure:
    """The difference of two models in each window of a backtest, and in all of them together."""
    what = f"{label(found.metric)}: {titles[0]} minus {titles[1]}"
    rows = [*zip(names, found.windows, strict=True), ("all windows", found.pooled)]
    figure = _intervals([(f"{name}   n {interval.n:,}", interval) for name, interval in rows], what, least=None)
    figure.axes[0].axvline(0, color=SOFT, linewidth=0.8)
    told = "; ".join(f"{name}: {interval.text(sign=True)}, {interval.n} people" for name, interval in rows)
    slope = found.trend.text(sign=True)
    moves = "no trend is seen" if not found.trend.known or found.trend.low <= 0 <= found.trend.high else "it moves"
    caption = (
        f"{what}, in each window of the backtest and pooled over all, people resampled with all their windows. From one window to the next "
        f"the difference changes by {slope}: {moves}. The settings are those that validation of the main split chose."
    )
    return Figure(figure, "over_time", f"{what}. {told}. Trend {slope} a window.", caption)


def by_window(rows: Sequence[tuple[str, Interval]], what: str) -> Figure:
    """One mark with its interval for each window of a backtest."""
    figure = _intervals([(f"{name}   n {interval.n:,}", interval) for name, interval in rows], what)
    told = "; ".join(f"{name}: {interval.text()}, {interval.n} people" for name, interval in rows)
    caption = (
        f"{what} in each window of the backtest, with 95 % bootstrap intervals over people; the windows have other people and other truths."
    )
    return Figure(figure, "backtest", f"{what} by window. {told}.", caption)
