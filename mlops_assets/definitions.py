"""The entry point of the code location: use cases and environment in, one Definitions object out. Loads no heavy library."""

import gc
import os
from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    return build()


def build() -> dg.Definitions:
    """The use cases that MLOPS_USE_CASE names, or all."""
    # Dagster's modules stay for good. Unfrozen, the collector scans them again and again while our declarations load, which
    # is half of the loading time; by default it scans our own 150 times, a tenth of the time that 100 use cases take.
    gc.freeze()
    gc.set_threshold(100_000)
    from mlops_assets.foundation.home import read_environment
    from mlops_assets.graph.compile import build_shared, build_use_cases
    from mlops_assets.graph.kernel.server_launcher import keep_reporting_runs
    from mlops_assets.use_cases import select_use_cases

    keep_reporting_runs()
    environment = read_environment(os.environ)
    use_cases, problems = select_use_cases(environment.use_cases)
    environment.home.share()
    # Dagster sets this for `dg check defs`, which is to fail where the running platform goes on without a use case.
    if os.environ.get("DAGSTER_IS_DEFS_VALIDATION_CLI"):
        from mlops_assets.graph.check import find_problems
        from mlops_assets.spec.spec import IllegalDeclaration

        if illegal := [*problems, *find_problems(use_cases)]:
            raise IllegalDeclaration("\n".join(illegal))
    return dg.Definitions.merge(build_shared(environment), *build_use_cases(use_cases, problems))


def definitions_of(project: Path) -> dg.Definitions:
    """Of the project with this root, whatever the working folder is: for a workspace with the code locations of several."""
    os.environ["MLOPS_PROJECT"] = str(project)  # of this process, which is the code location, and of its runs
    return build()
