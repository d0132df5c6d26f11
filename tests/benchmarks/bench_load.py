"""What loading the code location costs, as a ratio to `import dagster`, and 100 use cases as a ratio to one: fresh processes,
taken in turn, medians.

CPU seconds, not wall clock: on a shared machine the wall-clock ratio of one and the same tree went from 1.0 to 1.5.
It ends with code 1 when the ratio passes its bound or a heavy library comes along, with 2 when the machine is too noisy
to tell (two imports then seem cheaper than one of them).
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
ROUNDS = 11
MAX_RATIO = 1.3
MANY, MAX_MANY = 100, 3.0  # use cases in one code location, and the time that they may take relative to one
HEAVY = ("torch", "pytorch_lightning", "lightning", "feast", "mlflow", "evidently", "sklearn", "bentoml", "optuna", "matplotlib")

MEASURE = """
import json, sys, time
start = time.process_time()
{statement}
seconds = time.process_time() - start
print(json.dumps([seconds, sorted(sys.modules)]))
"""
ALONE = MEASURE.format(statement="import dagster")
WITH_POLARS = MEASURE.format(statement="import dagster, polars")
GENERATED = """
from tests.cli.loans import LOANS
from mlops_assets import use_cases
use_cases.USE_CASES = tuple(LOANS.but(name=f"loans_{{number}}") for number in range({count}))
from mlops_assets.definitions import defs
defs().get_repository_def()"""
ONE, HUNDRED = (MEASURE.format(statement=GENERATED.format(count=count)) for count in (1, MANY))
LOADED = MEASURE.format(statement="from mlops_assets.definitions import defs; defs().get_repository_def()")


def measured(code: str, home: str) -> tuple[float, list[str]]:
    """CPU seconds, and the modules that were loaded, in a fresh interpreter."""
    # Installed modules have byte code; without it, our own would be compiled by every process, and those of Dagster by none.
    variables = {**os.environ, "MLOPS_ENV": "test", "MLOPS_HOME": home, "PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=variables, capture_output=True, text=True, check=True)
    seconds, modules = json.loads(done.stdout.splitlines()[-1])
    return seconds, modules


def main() -> int:
    seconds: dict[str, list[float]] = {ALONE: [], WITH_POLARS: [], LOADED: [], ONE: [], HUNDRED: []}
    modules = dict[str, list[str]]()
    with tempfile.TemporaryDirectory() as home:
        measured(LOADED, home)  # fills the byte-code and file caches
        for _ in range(ROUNDS):
            for code, taken in seconds.items():
                one, modules[code] = measured(code, home)
                taken.append(one)
    heavy = sorted(set(modules[LOADED]) & set(HEAVY))
    alone, with_polars, loaded, one, many = map(statistics.median, seconds.values())
    ratios = sorted(part / base for part, base in zip(seconds[LOADED], seconds[ALONE], strict=True))
    print(f"import dagster           {alone:.2f} CPU s (median of {ROUNDS} fresh processes, taken in turn)")
    print(f"import dagster, polars   {with_polars:.2f} CPU s, ratio {with_polars / alone:.2f}")
    print(
        f"load the code location   {loaded:.2f} CPU s, ratio {loaded / alone:.2f} (at most {MAX_RATIO}; {ratios[0]:.2f} to {ratios[-1]:.2f})"
    )
    print(f"load {MANY} use cases       {many:.2f} CPU s, {many / one:.2f} times one (at most {MAX_MANY})")
    print(f"polars loaded            {'yes' if 'polars' in modules[LOADED] else 'no: the first transform of a run pays for it'}")
    print(f"heavy libraries loaded   {', '.join(heavy) or 'none'}")
    if min(with_polars, loaded) < alone:
        print("verdict                  none: the machine is too noisy, run it again alone")
        return 2
    return int(loaded / alone > MAX_RATIO or many / one > MAX_MANY or bool(heavy))


if __name__ == "__main__":
    sys.exit(main())
