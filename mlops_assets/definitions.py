"""The entry point of the code location: use cases and environment in, one Definitions object out. Loads no heavy library."""

import gc
import os

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    """The use cases that MLOPS_USE_CASE names, or all."""
    # Dagster's modules stay for good. Unfrozen, the collector scans them again and again while our declarations load, which
    # is half of the loading time; by default it scans our own 150 times, a tenth of the time that 100 use cases take.
    gc.freeze()
    gc.set_threshold(100_000)
    from mlops_assets.foundation.home import read_environment
    from mlops_assets.graph.compile import build_use_cases
    from mlops_assets.graph.kernel.tables import build_io_managers
    from mlops_assets.resources import build_resources
    from mlops_assets.use_cases import select_use_cases

    environment = read_environment(os.environ)
    home, (use_cases, problems) = environment.home, select_use_cases(environment.use_cases)
    home.share()
    resources = {**build_resources(environment), **build_io_managers(str(home.tables), str(home.root / "values"))}
    # A step costs 0.04 s in one process, and 4.8 s in a process of its own.
    shared = dg.Definitions(resources=resources, executor=dg.in_process_executor)
    # Dagster sets this for `dg check defs`, which is to fail where the running platform goes on without a use case.
    if os.environ.get("DAGSTER_IS_DEFS_VALIDATION_CLI"):
        from mlops_assets.graph.check import find_problems
        from mlops_assets.spec.spec import IllegalDeclaration

        if found := [*problems, *find_problems(use_cases)]:
            raise IllegalDeclaration("\n".join(found))
    return dg.Definitions.merge(shared, *build_use_cases(use_cases, problems))
