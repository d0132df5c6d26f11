"""How often drift detectors alarm on windows in which nothing changed, and on planted changes of three sizes, for ten kinds of
columns. With --write, table and plot go into docs/monitors.md. Ends with code 1 when ours passes its declared rate of false alarms.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import binom

from mlops_assets.spec.monitor import Drift
from tests.benchmarks.detectors import OTHERS, ours
from tests.statistics.column_kinds import KINDS

DOCS = Path(__file__).resolve().parents[2] / "docs"
BEGIN, END = "<!-- made by bench_detectors.py -->\n", "<!-- end -->\n"
SHARES = (0.0, 0.1, 0.3, 1.0)  # of the rows of a window that are changed
OURS, WINDOWS, REFERENCES = "Drift()", 60, 3
Rates = dict[tuple[str, str], list[float]]  # by kind and detector, of each share


def measure(windows: int) -> Rates:
    rates: Rates = {}
    for kind_name, kind in KINDS.items():
        alarms = {name: np.zeros(len(SHARES)) for name in (OURS, *OTHERS)}
        for seed in range(REFERENCES):
            rng = np.random.default_rng(seed)
            reference = kind.reference(rng)
            detectors = {OURS: ours(kind, reference), **OTHERS}
            for place, share in enumerate(SHARES):
                for _ in range(windows // REFERENCES):
                    window = kind.window(rng, share)
                    for name, detect in detectors.items():
                        alarms[name][place] += detect(reference, window)
        for name, counts in alarms.items():
            rates[kind_name, name] = (counts / (windows // REFERENCES * REFERENCES)).tolist()
        print(kind_name, {name: rates[kind_name, name] for name in alarms}, flush=True)
    return rates


def table(rates: Rates) -> Iterator[str]:
    yield f"| column | {' | '.join((OURS, *OTHERS))} |"
    yield "|---" * (2 + len(OTHERS)) + "|"
    for kind in KINDS:
        cells = [" / ".join(f"{rate:.0%}".rstrip("%") for rate in rates[kind, name]) for name in (OURS, *OTHERS)]
        yield f"| {kind} | {' | '.join(cells)} |"


def plot(rates: Rates, file: Path) -> None:
    figure = Figure((11, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    names = (OURS, *OTHERS)
    for axis, place, title in ((axes[0], 0, "False alarms: nothing changed"), (axes[1], 2, "Alarms: 30% of the rows changed")):
        values = np.array([[rates[kind, name][place] for name in names] for kind in KINDS])
        axis.imshow(values, cmap="Reds" if place == 0 else "Greens", vmin=0, vmax=1, aspect="auto")
        axis.set(title=title, xticks=range(len(names)), yticks=range(len(KINDS)), yticklabels=KINDS)
        axis.set_xticks(range(len(names)), names, rotation=20)
        for (row, column), value in np.ndenumerate(values):
            axis.text(
                column, row, f"{value:.0%}", ha="center", va="center", color="white" if value > 0.6 else "black", fontsize=9
            )
    figure.savefig(file, dpi=110)


def write(rates: Rates, windows: int) -> None:
    plot(rates, DOCS / "detectors.png")
    page = DOCS / "monitors.md"
    before, _, rest = page.read_text().partition(BEGIN)
    sizes = " / ".join(f"{share:.0%}" for share in SHARES)
    text = f"Percent of {windows} windows with an alarm, where {sizes} of the rows are changed.\n\n" + "\n".join(table(rates))
    picture = "![False alarms and power of drift detectors](detectors.png)"
    page.write_text(f"{before}{BEGIN}{text}\n\n{picture}\n{END}{rest.partition(END)[2]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=WINDOWS)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rates = measure(options.windows)
    print("\n".join(table(rates)))
    if options.write:
        write(rates, options.windows)
    most = binom.ppf(0.999, options.windows, Drift().false_discovery_rate) / options.windows
    return int(max(rates[kind, OURS][0] for kind in KINDS) > most)


if __name__ == "__main__":
    sys.exit(main())
