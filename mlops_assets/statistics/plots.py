"""Pictures of the evidence as PNG bytes that fit in asset metadata, with one colour per role in every picture."""
# pyright: reportUnknownMemberType=false

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from mlops_assets.statistics.binary import Tally
from mlops_assets.statistics.drift import ColumnDrift
from mlops_assets.statistics.metrics import Array

INK, FAINT, ALARM = "#334155", "#cbd5e1", "#dc2626"
CANDIDATE, CHAMPION, REFERENCE = "#2563eb", "#ea580c", "#64748b"
ROLES = {"candidate": CANDIDATE, "champion": CHAMPION, "reference": REFERENCE}  # by the first word of a name: champion 7
WIDTH_INCHES, DPI = 4.8, 100  # 480 pixels wide: what the Dagster UI shows without scaling
SQUARE, WIDE = 4.2, 2.7
MOST_BARS, MOST_CELLS, MOST_LETTERS = 20, 10, 14
DASHED: dict[str, Any] = {"linestyle": "--", "linewidth": 1}
MEAN_BINS, MOST_POINTS = 20, 2000
MIN_HOURS = 1 / 60
SHOWN = (0.005, 0.995)  # of the numbers on an axis: a single one far away would leave no room for the others


def roc_curve(tallies: Mapping[str, Tally]) -> bytes:
    """True against false positive rate of each tally, named by its role, with its auc."""
    figure, axes = new_figure(SQUARE, "ROC", x="false positive rate", y="true positive rate")
    axes.plot([0, 1], [0, 1], color=FAINT, **DASHED)
    for name, tally in tallies.items():
        # Falling thresholds, thinned to what 480 pixels can show.
        shown = np.unique(np.linspace(0, len(tally.probability), 600).astype(int))
        rates = (np.append(0, np.cumsum(part[::-1]))[shown] / max(part.sum(), 1) for part in (tally.negative, tally.positive))
        axes.plot(*rates, color=_colour(name), linewidth=1.8, label=f"{name} · {tally.auc():.3f}")
    axes.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    axes.legend(loc="lower right", frameon=False, title="AUC", alignment="left")
    return png(figure)


def reliability(tallies: Mapping[str, Tally]) -> bytes:
    """Share of positives against mean probability in equal-count bins, with the expected calibration error."""
    figure, axes = new_figure(SQUARE, "Reliability", x="mean predicted probability", y="observed share")
    highest = 0.05
    for name, tally in tallies.items():
        mean, share, _ = tally.calibration()
        label = f"{name} · {tally.ece():.3f}"
        axes.plot(mean, share, color=_colour(name), marker="o", markersize=4, linewidth=1.6, label=label)
        highest = max(highest, mean.max(initial=0), share.max(initial=0))
    axes.plot([0, 1], [0, 1], color=FAINT, zorder=0, **DASHED)
    limits = (0, min(highest * 1.08, 1))
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.legend(loc="upper left", frameon=False, title="ECE", alignment="left")
    return png(figure)


def score_distribution(probabilities: Mapping[str, Array], threshold: float) -> bytes:
    """How often each named (n,) probability falls into each of 40 equal bins, with the decision threshold."""
    figure, axes = new_figure(WIDE, "Scores", x="predicted probability", y="share of rows")
    axes.axvline(threshold, color=INK, label=f"threshold {threshold:g}", **DASHED)
    _histograms(axes, probabilities, (0, 1))
    return png(figure)


def confusion(counts: Array, names: Sequence[str]) -> bytes:
    """Rows by truth and decision, (k, k), of the classes with these names; above MOST_CELLS classes in colour alone."""
    places, many = range(len(names)), len(names) > MOST_CELLS
    figure, axes = new_figure(3.2 if len(names) == 2 else SQUARE, "Confusion, with shares of each truth", x="decided", y="truly")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.8, aspect="auto")  # pale enough for dark text
    for row, column in () if many else np.ndindex(*counts.shape):
        text = f"{counts[row, column]:,}\n{shares[row, column]:.0%}"
        axes.text(column, row, text, ha="center", va="center", color=INK, fontsize=12 if len(names) < 5 else 8)
    axes.set(xticks=places, yticks=places, xticklabels=map(_short, names), yticklabels=map(_short, names))
    axes.tick_params(axis="x", rotation=90 if many else 0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return png(figure)


def predicted_and_true(truth: Array, predictions: Mapping[str, Array], name: str) -> bytes:
    """The truth against each (n,) prediction, named by its role: the rows of the first one as points, and of each the mean truth
    in bins of equally many rows, which is on the diagonal for a model without bias."""
    figure, axes = new_figure(SQUARE, f"Predicted and true {name}", x="predicted", y="true")
    limits = _limits(truth, *predictions.values())
    axes.plot(limits, limits, color=FAINT, zorder=0, **DASHED)
    _points(axes, next(iter(predictions.values())), truth)
    for role, prediction in predictions.items():
        means = [(prediction[part].mean(), truth[part].mean()) for part in _bins(prediction)]
        axes.plot(*np.array(means).T, color=_colour(role), marker="o", markersize=4, linewidth=1.6, label=role)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.legend(loc="upper left", frameon=False, title="mean truth", alignment="left")
    return png(figure)


def residuals(truth: Array, outputs: Mapping[str, Array], name: str) -> bytes:
    """truth - prediction over the prediction: the rows of the first of the (n, 3) outputs as points with its intervals, and of
    each the mean in bins of equally many rows."""
    figure, axes = new_figure(WIDE, f"Residuals of {name}", x="predicted", y="true - predicted")
    prediction, low, high = next(iter(outputs.values())).T
    errors = truth - prediction
    axes.axhline(0, color=INK, **DASHED)
    order = np.argsort(prediction, kind="stable")
    bounds = (low - prediction)[order], (high - prediction)[order]
    axes.fill_between(prediction[order], *bounds, color=FAINT, alpha=0.45, linewidth=0, label="interval")
    _points(axes, prediction, errors)
    for role, (own, *_) in {role: output.T for role, output in outputs.items()}.items():
        means = [(own[part].mean(), (truth - own)[part].mean()) for part in _bins(own)]
        axes.plot(*np.array(means).T, color=_colour(role), marker="o", markersize=3.5, linewidth=1.6, label=role)
    bottom, top = _limits(errors, *bounds)
    axes.set(xlim=_limits(prediction), ylim=(bottom, top + 0.25 * (top - bottom)))  # with room for the legend
    axes.legend(loc="upper left", frameon=False, fontsize=9, ncols=len(outputs) + 1)
    return png(figure)


def distributions(numbers: Mapping[str, Array], name: str) -> bytes:
    """How often each named (n,) falls into each of 40 equal bins, over the range of them all."""
    figure, axes = new_figure(WIDE, f"Distribution of {name}", x=name, y="share of rows")
    _histograms(axes, numbers, _limits(*numbers.values()))
    return png(figure)


def recall_bars(names: Sequence[str], recalls: Mapping[str, Array]) -> bytes:
    """The share of each class's rows that is decided right, (k,) by role, the first class on top."""
    shown = names[:MOST_BARS]
    title = "Recall by class" + f", the first {MOST_BARS} of {len(names)}" * (len(names) > MOST_BARS)
    figure, axes = new_figure(1.3 + 0.14 * len(shown) * (1 + len(recalls)), title, x="share of the class's rows decided right")
    height, places = 0.8 / max(len(recalls), 1), np.arange(len(shown))
    for number, (name, values) in enumerate(recalls.items()):
        middles = places + height * (number - (len(recalls) - 1) / 2)
        axes.barh(middles, values[: len(shown)], height=height * 0.9, color=_colour(name), label=name)
    axes.set(yticks=places, yticklabels=map(_short, shown), xlim=(0, 1), ylim=(len(shown) - 0.4, -0.6))
    axes.grid(visible=False, axis="y")
    figure.legend(frameon=False, ncols=3, loc="outside lower left", fontsize=9)
    return png(figure)


def importance(drops: Sequence[tuple[str, float, float, float]], metric: str) -> bytes:
    """The inputs whose shuffling costs the most, largest on top: mean, least and largest loss."""
    shown = sorted(drops, key=lambda drop: drop[1])[-MOST_BARS:]
    values = {name: mean for name, mean, _, _ in shown}
    figure, axes = _bars(values, CANDIDATE, "Permutation importance", f"loss of {metric} when shuffled")
    axes.hlines(range(len(shown)), [low for _, _, low, _ in shown], [high for _, _, _, high in shown], colors=INK, linewidth=1.6)
    return png(figure)


def drift_bars(columns: Sequence[ColumnDrift]) -> bytes:
    """PSI of the inputs that moved most, drifted ones in red, each with its bound."""
    shown = sorted(columns, key=lambda column: column.psi)[-MOST_BARS:]
    title = f"Drift: {sum(column.drifted for column in columns)} of {len(columns)} inputs"
    colours = [ALARM if column.drifted else REFERENCE for column in shown]
    figure, axes = _bars({column.name: column.psi for column in shown}, colours, title, "PSI, with its bound; red drifted")
    middles = np.arange(len(shown))
    axes.vlines([column.max_psi for column in shown], middles - 0.45, middles + 0.45, color=INK, linewidth=1.6)
    axes.set_xlim(0, max((1.05 * max(column.psi, column.max_psi) for column in shown), default=1.0))
    return png(figure)


def age_curves(hours: Mapping[str, Array], max_hours: float) -> bytes:
    """Of each view, the share of answers whose values were at most so old, (n,), with the declared bound."""
    figure, axes = new_figure(
        SQUARE, "Age of the data behind the answers", x="hours, logarithmic", y="share of answers, at most so old"
    )
    shares = np.linspace(0, 1, 200)
    for name, ages in hours.items():
        if len(ages):
            axes.plot(np.maximum(np.quantile(ages, shares), MIN_HOURS), shares, linewidth=1.6, label=_short(name))
    axes.axvline(max_hours, color=ALARM, **DASHED)
    axes.set(xscale="log", ylim=(0, 1.02))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    return png(figure)


def _short(name: str) -> str:
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"


def new_figure(height_inches: float, title: str, *, x: str = "", y: str = "") -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.grid(color=FAINT, linewidth=0.6, alpha=0.6)
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", color=INK, fontsize=11, fontweight="bold")
    axes.set_xlabel(x, color=INK, fontsize=9)
    axes.set_ylabel(y, color=INK, fontsize=9)
    return figure, axes


def _bars(values: Mapping[str, float], colours: str | list[str], title: str, x: str) -> tuple[Figure, Axes]:
    """One horizontal bar per name, the last on top."""
    figure, axes = new_figure(1.0 + 0.19 * max(len(values), 6), title, x=x)
    axes.barh(range(len(values)), list(values.values()), color=colours, height=0.7)
    axes.set_yticks(range(len(values)), list(values))
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(-0.7, max(len(values), 1) - 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return figure, axes


def png(figure: Figure) -> bytes:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    buffer = io.BytesIO()
    # 64 colours look the same in a third of the size; written by Pillow, the bytes do not name matplotlib's version.
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(64, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _colour(role: str) -> str:
    return ROLES.get(role.partition(" ")[0], INK)


def _histograms(axes: Axes, numbers: Mapping[str, Array], limits: tuple[float, float]) -> None:
    for role, some in numbers.items():
        count, edges = np.histogram(some, bins=40, range=limits)
        share, colour = count / max(len(some), 1), _colour(role)
        axes.stairs(share, edges, color=colour, linewidth=1.6, label=role)
        axes.stairs(share, edges, color=colour, alpha=0.12, fill=True)
    axes.set(xlim=limits, ylim=(0, None))
    axes.legend(loc="upper right", frameon=False, fontsize=9)


def _points(axes: Axes, x: Array, y: Array) -> None:
    step = -(-len(x) // MOST_POINTS)
    axes.scatter(x[::step], y[::step], s=6, color=INK, alpha=0.18, linewidths=0)


def _bins(prediction: Array) -> list[Array]:
    """Row numbers in rising order of the prediction, in MEAN_BINS parts."""
    return [part for part in np.array_split(np.argsort(prediction, kind="stable"), MEAN_BINS) if len(part)]


def _limits(*numbers: Array) -> tuple[float, float]:
    low, high = np.quantile(np.concatenate(numbers), SHOWN)
    margin = 0.05 * (high - low) or 1.0
    return float(low - margin), float(high + margin)
