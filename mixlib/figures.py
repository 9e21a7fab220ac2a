"""Figures: one message each, the same colour for the same model on every page, the interval drawn wherever there is one."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mixlib.files import renamed
from mixlib.labels import LABELS, PUBLISHED, label, title
from mixlib.models import SEQUENTIAL
from mixlib.outcomes import FEW, MAIN, Results, best
from mixlib.reports import HALF, MIXTURE, SIZE, WIDE
from mixlib.studies import PAPER, STUDIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {  # dark for single vectors, brighter for mixtures: told apart in grey too
    "lstm": "#333333",
    "mixture_lstm": "#D55E00",
    "factorization": "#333333",
    "projection_mixture": "#56B4E9",
    "embedding_mixture": "#D55E00",
}
MARKERS = {"lstm": "o", "mixture_lstm": "D", "factorization": "o", "projection_mixture": "s", "embedding_mixture": "D"}
STYLE: dict[str, Any] = {
    "figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False, "font.size": 10, "axes.titlesize": 10,
    "legend.frameon": False, "svg.hashsalt": "mixlib", "figure.dpi": 100, "savefig.dpi": 150,
}  # fmt: skip


def new(columns: int = 1, rows: int = 1, width: float = 7.0, height: float = 3.0, **options):
    """A figure and its axes in the house style, for pages as narrow as a phone: width and height in inches."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.rcParams.update(STYLE)  # type: ignore[arg-type]  # the stubs list every key
    return plt.subplots(rows, columns, figsize=(width, height), **options)


def save(figure: "Figure", path: str | Path) -> None:
    """Write path.svg and path.pdf, the same bytes every time."""
    base = Path(path)
    base.parent.mkdir(parents=True, exist_ok=True)
    for form, dated in (("svg", "Date"), ("pdf", "CreationDate")):
        with renamed(base.with_suffix(f".{form}")) as partial:
            figure.savefig(partial, format=form, metadata={dated: None})


def close(figure: "Figure") -> None:
    """Forget a figure that nobody will look at: pyplot keeps every open one in memory."""
    from matplotlib import pyplot as plt

    plt.close(figure)


def _look(kind: str) -> tuple[str, str]:
    """Colour and marker of a kind of model; grey and round for one's own."""
    return COLOURS.get(kind, "#777777"), MARKERS.get(kind, "o")


def outcomes(
    axes: "Axes", results: Results, published: dict[str, float] | None = None, references: Mapping[str, float] | None = None
) -> None:
    """Test MRR of every arm as a dot with its 95% interval; a published value, if any, as a hollow mark.

    references: test MRR by name, each a dotted line.
    """
    names = list(results.outcomes)
    for y, arm in enumerate(names):
        outcome, (colour, marker) = results.outcomes[arm], _look(arm.partition("/")[0])
        low, high = outcome.bounds
        axes.plot([low, high], [y, y], color=colour, lw=2, solid_capstyle="round")
        axes.plot(outcome.mrr, y, marker, color=colour, ms=7)
        if published and arm in published:
            axes.plot(published[arm], y + 0.22, marker, mfc="white", mec="#777777", ms=7)  # below ours
    axes.set_yticks(range(len(names)), [label(arm) for arm in names])
    axes.set_ylim(len(names) - 0.5, -0.5 - 0.45 * len(references or {}))  # names of references lie above the marks
    printed = [value for arm, value in (published or {}).items() if arm in names]
    marks = [*(outcome.bounds[1] for outcome in results.outcomes.values()), *printed, *(references or {}).values()]
    for number, (name, mrr) in enumerate((references or {}).items()):
        axes.axvline(mrr, ls=":", color="#777777", lw=1.2, zorder=0)
        side, shift = ("left", 3) if mrr < max(marks) / 2 else ("right", -3)  # away from the nearer end of the panel
        axes.annotate(name, (mrr, 1), xycoords=("data", "axes fraction"), xytext=(shift, -9 * number), textcoords="offset points",
                      ha=side, va="top", fontsize=8, color="#555555", bbox={"fc": "white", "ec": "none", "pad": 0.5})  # fmt: skip
    axes.set_xlim(0, 1.08 * max(marks))
    axes.set_xlabel("test MRR, 95% over users")


def components(axes: "Axes", results: Results) -> None:
    """Test MRR against the number of tastes m, from arms named `kind/m`, with 95% intervals."""
    kinds = dict.fromkeys(arm.partition("/")[0] for arm in results.outcomes)
    for kind in kinds:
        points = [(int(arm.partition("/")[2]), outcome) for arm, outcome in results.outcomes.items() if arm.startswith(kind + "/")]
        m = [number for number, _ in points]
        mean = np.array([outcome.mrr for _, outcome in points])
        bounds = np.array([outcome.bounds for _, outcome in points])
        colour, marker = _look(kind)
        axes.fill_between(m, bounds[:, 0], bounds[:, 1], color=colour, alpha=0.15, lw=0)
        axes.plot(m, mean, marker + "-", color=colour)
        axes.set_xticks(m)
    axes.set_title(", ".join(map(label, kinds)), loc="left")
    axes.set_xlabel("number of tastes m")
    axes.set_ylabel("test MRR, 95% over users")


def table1(results: dict[tuple[str, str], Results], references: Mapping[tuple[str, str], Results] | None = None) -> "Figure":
    """Table 1 drawn: one panel for each data set and family, ours with intervals, what was printed in 2018 hollow.

    references: results of the studies of references by (data set, family); two lines of each are drawn, popularity and the best.
    """
    shown = {key: found for key, found in results.items() if found.outcomes}
    figure, panels = _panels(shown, 1.2, 1.7)
    for (dataset, name), axes in panels.items():
        printed = PUBLISHED["paper"]["mrr"].get(dataset) or PUBLISHED["archive"]["mrr"].get(dataset)
        outcomes(axes, shown[dataset, name], printed, _two_lines((references or {}).get((dataset, name))))
        axes.set_title(f"{title(dataset)}\n{name}", loc="left")
    lowest = {name: axes for (_, name), axes in panels.items()}
    for (_, name), axes in panels.items():
        if axes is not lowest[name]:
            axes.set_xlabel("")
    return figure


def _panels(keys: Iterable[tuple[str, str]], above: float, each: float) -> tuple[Any, dict[tuple[str, str], "Axes"]]:
    """A figure with a panel for each (data set, family), data sets as rows; above, each: inches of height."""
    datasets, families = (list(dict.fromkeys(key[place] for key in keys)) for place in (0, 1))
    figure, grid = new(len(families) or 1, len(datasets) or 1, 7.0, above + each * len(datasets), squeeze=False)
    panels = {(dataset, family): grid[row, column] for row, dataset in enumerate(datasets) for column, family in enumerate(families)}
    for key, axes in panels.items():
        axes.set_visible(key in keys)
    return figure, {key: axes for key, axes in panels.items() if key in keys}


def _two_lines(references: Results | None) -> dict[str, float]:
    """Popularity, and the reference that is best on validation."""
    found = references.outcomes if references else {}
    shown = (found.get("popularity"), best(found.values()))
    return {label(outcome.arm): outcome.mrr for outcome in shown if outcome}


def searches(curves: dict[tuple[str, str], dict[str, np.ndarray]], references: Mapping[tuple[str, str], Results] | None = None) -> "Figure":
    """The search of every study, by (data set, family): a panel each, as `search` draws it, with the references of `table1`."""
    figure, panels = _panels(curves, 0.6, 2.2)
    for key, axes in panels.items():
        search(axes, curves[key], _two_lines((references or {}).get(key)))
        axes.set_title(f"{title(key[0])}, {key[1]}", loc="left")
        if key[1] != next(iter(panels))[1]:  # not in the first column
            axes.set_ylabel("")
    drawn = {name: line for axes in figure.axes for line, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    alike: dict[tuple, list[str]] = {}
    for name, line in drawn.items():
        alike.setdefault((line.get_color(), line.get_marker()), []).append(name)
    if alike:
        handles, names = [drawn[some[0]] for some in alike.values()], [" / ".join(some) for some in alike.values()]
        figure.legend(handles, names, loc="outside upper center", ncols=len(names), fontsize=8)
    return figure


def lines(axes: "Axes", x: Sequence[float], curves: dict[str, np.ndarray], xlabel: str, ylabel: str, labelled: bool = True) -> None:
    """Up to three curves (n,) over x (n,) in the same colours and dashes for the same names in every panel; a legend unless told not to.

    Raises ValueError when there are more.
    """
    if len(curves) > 3:
        raise ValueError(f"there are colours for three curves, not for {len(curves)}.")
    for (name, y), colour, dash in zip(curves.items(), ("#333333", "#0072B2", "#D55E00"), ("-", "--", "-."), strict=False):
        axes.plot(x, y, dash, color=colour, label=name)
    if labelled:
        axes.legend()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)


def circle(
    axes: "Axes", items: np.ndarray, chosen: np.ndarray, scores: np.ndarray, tastes: np.ndarray, attention: np.ndarray, name: str
) -> None:
    """Items (n, 2) in the plane, shaded by score (n,); the chosen ones ringed; the tastes (m, 2) as arrows, a colour each, and dashed in
    the same colour the attention vectors (m or 0, 2); m is at most 2.

    Raises ValueError when there are more tastes.
    """
    order = scores.argsort().argsort() / (len(scores) - 1)
    axes.scatter(items[:, 0], items[:, 1], c=order, cmap="Greys", s=70, edgecolors="#BBBBBB", linewidths=0.5, vmin=-0.1)
    axes.scatter(items[chosen, 0], items[chosen, 1], s=150, facecolors="none", edgecolors="#333333", linewidths=1.2)
    for vectors, dash in ((tastes, "-"), (attention, "--")):
        for (x, y), colour in zip(vectors, ("#D55E00", "#0072B2")[: len(vectors)], strict=True):
            end, look = 0.8 / np.hypot(x, y), {"arrowstyle": "-|>", "color": colour, "lw": 2, "linestyle": dash}
            axes.annotate("", (end * x, end * y), (0, 0), arrowprops=look)
    axes.set(aspect="equal", xticks=[], yticks=[], title=name, xlim=(-1.25, 1.25), ylim=(-1.25, 1.25))
    axes.spines[:].set_visible(False)


def search(axes: "Axes", curves: dict[str, np.ndarray], references: Mapping[str, float] | None = None) -> None:
    """Test MRR of the best trial so far against the number of trials, from `searching.best_so_far` (orders, n) of every arm.

    The line is the median over orders of the trials, the band holds 90% of them. references: test MRR by name, each a dotted line.
    """
    for arm, found in curves.items():
        kind = arm.partition("/")[0]
        low, middle, high = np.quantile(found, [0.05, 0.5, 0.95], axis=0)
        trials = np.arange(1, found.shape[1] + 1)
        axes.fill_between(trials, low, high, color=COLOURS[kind], alpha=0.15, lw=0)
        axes.plot(trials, middle, MARKERS[kind] + "-", color=COLOURS[kind], ms=4, label=label(arm))
    most = max((found.shape[1] for found in curves.values()), default=1)
    step, top = max(1, most // 5), 1.12 * max([*(found.max() for found in curves.values()), *(references or {}).values()], default=1)
    axes.set_xticks(sorted({1, *range(step, most + 1, step), most}))
    axes.set_xlabel("search trials")
    axes.set_ylabel("test MRR of the best")
    for name, mrr in (references or {}).items():
        axes.axhline(mrr, ls=":", color="#777777", lw=1.2, zorder=0)
        above = any(0 <= np.median(found[:, -1]) - mrr < 0.16 * top for found in curves.values())  # a curve is where the name would be
        axes.annotate(name, (1, mrr), xycoords=("axes fraction", "data"), xytext=(-3, -2 if above else 2), textcoords="offset points",
                      fontsize=8, color="#555555", ha="right", va="top" if above else "bottom")  # fmt: skip
    axes.set_ylim(0, top)


def glance(each: pd.DataFrame, pooled: pd.DataFrame) -> "Figure":
    """What the mixtures gain, a row for each data set and one for all together: over the LSTM, over factorization of the same width, and
    over larger vectors. Hollow: the second comparison of the same mixture. Pale: fewer than FEW search trials. Bands: the gains printed in
    2018 for the first mixture of a panel. Panels are cut at twice the largest gain or loss.

    each, pooled: rows of `pooling.each` and `pooling.means`.
    """
    datasets, keys = [*dict.fromkeys(each["dataset"]), *([""] if len(pooled) else [])], ["protocol", "mixture", "against"]
    shown = pd.concat([each, pooled.assign(dataset="")]) if len(pooled) else each
    panels = {
        "Mixture-LSTM\nover the LSTM": [("sequences", "mixture_lstm", "lstm", "split of the search"),
                                        ("sequence-splits", "mixture_lstm", "lstm", "other splits")],
        "Mixtures over\nfactorization\nof the same width": [("factorization", kind, "factorization", LABELS[kind])
                                                            for kind in ("embedding_mixture", "projection_mixture")],
        "Embedding mixture\nover larger\nfactorization": [(SIZE, MIXTURE, WIDE, "as large"), (SIZE, MIXTURE, HALF, "half as large")],
    }  # fmt: skip
    figure, grid = new(len(panels), height=1.9 + 0.45 * len(datasets), sharex=True, sharey=True)
    for axes, (heading, compared) in zip(grid, panels.items(), strict=True):
        for place, (study, arm, baseline, words) in enumerate(compared):
            rows = shown[(shown[keys] == [study, arm, baseline]).all(axis=1)]
            rows = rows.assign(y=[datasets.index(one) + 0.3 * (place - 0.5) for one in rows["dataset"]])
            face = "white" if place and arm == compared[0][1] else None
            for those, alpha, name in ((rows["trials"] >= FEW, 1, words), (rows["trials"] < FEW, 0.4, None)):
                some = rows[those]
                axes.errorbar(100 * some["relative"], some["y"], xerr=_around(some), fmt=MARKERS[arm], color=COLOURS[arm], mfc=face,
                              ms=6, lw=1.5, alpha=alpha, label=name)  # fmt: skip
        _, kind, baseline, _ = compared[0]
        printed = [mrr[kind] / mrr[baseline] - 1 for mrr in PUBLISHED["paper"]["mrr"].values() if baseline in mrr]
        if printed:
            axes.axvspan(100 * min(printed), 100 * max(printed), color="#EEEEEE", zorder=0)
        axes.axvline(0, color="#999999", lw=0.8)
        if len(pooled):
            axes.axhline(len(datasets) - 1.5, color="#999999", lw=0.8)
        axes.set_title(heading, loc="left")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=4, fontsize=9)
    for axes in grid:
        _cut(axes, each["relative"], most=2)
    grid[0].set_yticks(range(len(datasets)), [title(one).replace(" (", "\n(") if one else "all together" for one in datasets])
    grid[0].set_ylim(max(len(datasets), 1) - 0.5, -0.5)
    grid[1].set_xlabel("gain in test MRR, % of the single vector's")
    return figure


def gains(by_skew: pd.DataFrame, by_tastes: pd.DataFrame, pooled: pd.DataFrame) -> "Figure":
    """Relative gains of mixtures on real data, by popularity skew, and over all of them together; and against the true number of tastes on
    generated ones, there in a panel for each mixture.

    by_skew: rows of `gains.gain_by_skew`; by_tastes: rows of `gains.factorial`, of which those of the main studies with several seeds are
    shown; pooled: rows of `pooling.means`, likewise. Panels are cut at half as much again as their largest gain or loss.
    """
    figure, grid = new(3, 2, width=7.0, height=6.0)
    first, others = figure.add_subplot(grid[0, 0].get_gridspec()[0, :]), list(grid[1])
    for axes in grid[0]:
        axes.remove()
    order = by_skew.drop_duplicates("dataset").sort_values("ratio")
    rows = by_skew.assign(place=by_skew["dataset"].map({name: y for y, name in enumerate(order["dataset"])}))
    below = pooled[pooled["protocol"].isin(MAIN)].assign(place=-1) if len(order) else pooled[:0]
    relative_gains(first, apart(pd.concat([rows, below]) if len(below) else rows, "place", 0.6), "place", "", lying=True)
    names = [f"{title(name)}: {ratio:.1f}".replace(" (", "\n(") for name, ratio in zip(order["dataset"], order["ratio"], strict=True)]
    first.set_yticks(range(-1 if len(below) else 0, len(order)), [*(["all together"] if len(below) else []), *names])
    if len(below):
        first.axhline(-0.5, color="#999999", lw=0.8)
    _cut(first, rows["relative"])
    first.set_title("Real data, with the 95th / 50th popularity ratio", loc="left")
    run = by_tastes[by_tastes["protocol"].isin(MAIN) & (by_tastes["seeds"] > 1)].dropna(subset="relative")
    places, levels = run["tastes"].factorize(sort=True)
    for axes, kind in zip(others, (arm for name in MAIN for arm in list(STUDIES[name].arms)[1:]), strict=True):
        rows = run.assign(tastes=places)[run["mixture"] == kind]
        relative_gains(axes, apart(rows, "tastes", 0.8), "tastes", "true tastes")
        axes.set_xticks(range(len(levels)), [str(level) for level in levels])
        axes.set_xlim(-0.6, max(len(levels), 1) - 0.4)
        axes.set_title(f"Generated:\n{LABELS[kind]}", loc="left")
        _cut(axes, rows["relative"], "y")
    for axes in others[1:]:
        axes.set_ylabel("")
    shown = {name: mark for axes in (first, *others) for mark, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    if shown:
        figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=len(shown))
    return figure


def size(by_size: pd.DataFrame) -> "Figure":
    """Relative gain over the narrow vector, of larger ones (hollow: half as large) and of the mixture, from rows of `gains.by_size`."""
    datasets, arms = list(dict.fromkeys(by_size["dataset"])), [arm for arm in STUDIES[SIZE].arms if arm in set(by_size["model"])]
    figure, axes = new(height=1.3 + 0.6 * len(datasets))
    for place, arm in enumerate(arms):
        rows, kind, shift = by_size[by_size["model"] == arm], arm.partition("/")[0], 0.22 * (place - (len(arms) - 1) / 2)
        y = [datasets.index(dataset) + shift for dataset in rows["dataset"]]
        axes.errorbar(100 * rows["relative"], y, xerr=_around(rows), fmt=MARKERS[kind], color=COLOURS[kind], ms=7, lw=2,
                      mfc="white" if arm == HALF else None, label=label(arm))  # fmt: skip
    axes.axvline(0, color="#999999", lw=0.8)
    axes.set_yticks(range(len(datasets)), [title(dataset) for dataset in datasets])
    axes.set_ylim(max(len(datasets), 1) - 0.5, -0.5)
    _cut(axes, by_size["relative"])
    axes.set_xlabel(f"gain in test MRR over factorization of width {PAPER.dim['factorization']}, % of its MRR")
    if datasets:
        figure.legend(loc="outside lower center", ncols=min(len(arms), 2))
    return figure


def true_tastes(by_components: pd.DataFrame) -> "Figure":
    """Relative gain of the embedding mixture with m tastes over m = 1, a panel for each population: rows of `gains.by_components`, a row
    of panels for each chance to stay. A dotted line is where m is the true number.
    """
    stays, kinds, levels = (list(dict.fromkeys(by_components[column])) for column in ("stickiness", "tastes", "m"))
    figure, grid = new(len(kinds) or 1, len(stays) or 1, width=7.0, height=2.8 * (len(stays) or 1), squeeze=False, sharey=True)
    for axes, (chance, tastes) in zip(grid.flat, product(stays, kinds), strict=False):
        rows = by_components[(by_components["tastes"] == tastes) & (by_components["stickiness"] == chance)]
        if rows.empty:
            axes.axis("off")
            continue
        axes.errorbar([levels.index(m) for m in rows["m"]], 100 * rows["relative"], _around(rows), marker=MARKERS["embedding_mixture"],
                      color=COLOURS["embedding_mixture"], ms=5, lw=1)  # fmt: skip
        axes.axhline(0, color="#999999", lw=0.8)
        if tastes in levels:
            axes.axvline(levels.index(tastes), ls=":", color="#777777", lw=1.2, zorder=0)
        axes.set_xticks(range(len(levels)), [str(m) for m in levels])
        axes.set_title(f"{tastes} taste{'s' * (tastes > 1)}, stays {chance}", loc="left")
        axes.set_xlabel("model's tastes, m")
    for row in grid:
        first = next((axes for axes in row if axes.axison), row[0])
        first.set_ylabel("gain in test MRR\nover m = 1, %")
        first.tick_params(labelleft=True)  # which a shared axis leaves to the first column
    return figure


def _cut(axes: "Axes", shares: pd.Series, along: str = "x", most: float = 1.5) -> None:
    """Cut a panel of gains at so many times the largest: two seeds can give an interval that leaves nothing else to see. An arrow ends each
    that reaches beyond.
    """
    if not shares.any():
        return
    (low, high), end, place = getattr(axes, f"get_{along}lim")(), 100 * most * shares.abs().max(), "xy".index(along)
    low, high = max(low, -end), min(high, end)
    axes.set(**{f"{along}lim": (low, high)})
    for point, _, (bars,) in axes.containers:
        for ends in bars.get_segments():
            for end, edge, beyond, mark in ((ends[0], low, ends[0][place] < low, "<v"), (ends[1], high, ends[1][place] > high, ">^")):
                if beyond:
                    end[place] = edge
                    axes.plot(*end, mark[place], color=point.get_color(), alpha=point.get_alpha(), ms=5, clip_on=False)


def _around(rows: pd.DataFrame) -> np.ndarray:
    """How far (2, n) the intervals of gains reach below and above them, in per cent of the baseline's MRR."""
    reach = np.array([rows["relative"] - rows["relative low"], rows["relative high"] - rows["relative"]])
    return 100 * np.minimum(reach, 1e4)  # of one test user they have no end


def apart(table: pd.DataFrame, column: str, width: float) -> pd.DataFrame:
    """The table with points of one value of a column side by side, `width` in all: mixture by mixture, each in the order of its rows."""
    shown = table.sort_values("mixture", kind="stable")
    among = shown.groupby(column)["mixture"]
    return shown.assign(**{column: shown[column] + width * ((among.cumcount() + 0.5) / among.transform("size") - 0.5)})


def relative_gains(axes: "Axes", table: pd.DataFrame, against: str, name: str, lying: bool = False) -> None:
    """Relative gain of every mixture, a row each of `gains.gain_by_skew` or `gains.factorial`, against a column that is shown as `name`;
    lying: from left to right, instead of upwards.

    Sequence models are hollow.
    """
    for kind, rows in table.dropna(subset="relative").groupby("mixture"):
        gain, around, place = 100 * rows["relative"], _around(rows), rows[against]
        ends: dict[str, Any] = {"x": gain, "xerr": around, "y": place} if lying else {"x": place, "y": gain, "yerr": around}
        axes.errorbar(**ends, fmt=MARKERS[str(kind)], color=COLOURS[str(kind)], ms=5, lw=1,
                      mfc="white" if kind in SEQUENTIAL else None, label=label(str(kind)))  # fmt: skip
    (axes.axvline if lying else axes.axhline)(0, color="#999999", lw=0.8)
    said = "gain in test MRR, % of the baseline"
    axes.set_xlabel(said if lying else name)
    axes.set_ylabel(name if lying else said)
