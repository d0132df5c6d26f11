"""The pods of a declaration: as tags of steps, which the launchers of runs and of steps read, and an executor of steps."""

from typing import Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.spec.compute import Pod
from mlops_assets.spec.use_case import UseCase

POD = "mlops/pod"  # of a step: its pod, as JSON
KUBERNETES = "dagster-k8s/config"  # of a step: what dagster-k8s makes of it where it is a pod of its own
PER_STEP = "mlops/pod_per_step"  # of a run: its own pod does no work


def pod_tags(use_case: UseCase, stage: str) -> dict[str, Any]:
    pod = use_case.compute.pod(names.part(stage))
    return {POD: pod.model_dump_json(), KUBERNETES: kubernetes_config(pod)} if pod else {}


def kubernetes_config(pod: Pod) -> dict[str, Any]:
    memory = {"memory": f"{pod.memory_gib * 1024:.0f}Mi"}
    gpus = {"nvidia.com/gpu": str(pod.gpus)} if pod.gpus else {}
    resources = {"requests": {"cpu": f"{pod.cpu * 1000:.0f}m", **memory}, "limits": {**memory, **gpus}}
    selector = {"node_selector": {**pod.node_selector}} if pod.node_selector else {}
    return {"container_config": {"resources": resources}, "pod_spec_config": selector}


@dg.executor
def pod_per_step(init: dg.InitExecutorContext) -> dg.Executor:
    """Each step is a pod where each run is one. On one machine the steps stay in the process of the run."""
    from dagster_k8s import K8sRunLauncher, k8s_job_executor

    on_cluster = isinstance(init.instance.run_launcher, K8sRunLauncher)
    chosen = k8s_job_executor if on_cluster else dg.in_process_executor
    config: dict[str, object] = {"retries": {"enabled": {}}, "marker_to_close": None}
    create: Any = chosen.executor_creation_fn  # typed as if it could be missing
    return create(dg.InitExecutorContext(init.job, chosen, config, init.instance))
