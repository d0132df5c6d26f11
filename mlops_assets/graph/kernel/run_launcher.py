"""Runs as Kubernetes jobs. Only an instance's dagster.yaml names this module: dagster-k8s takes 4 s to import."""
# dagster-k8s and kubernetes leave types open.
# pyright: reportUnknownVariableType=false

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import dagster as dg
import urllib3
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import get_job_name_from_run_id
from kubernetes.client.exceptions import ApiException

from mlops_assets.graph.kernel.pods import KUBERNETES, PER_STEP, POD, kubernetes_config
from mlops_assets.spec.compute import Pod

# What ended a pod, or keeps it from starting, and what to do.
NO_IMAGE = "its image {image} cannot be pulled. Correct job_image in dagster.yaml, or the registry's secret"
REMEDIES = {
    "OOMKilled": "it needed more than its memory limit of {memory}. Raise memory_gib in `compute` of the use case",
    "ImagePullBackOff": NO_IMAGE,
    "ErrImagePull": NO_IMAGE,
    "Evicted": "its node needed the space: {message}",
    "NodeLost": "its node is gone: {message}",
}
FINAL = {"OOMKilled"}  # the same pod would end the same way
MAX_RETRIES = "dagster/max_retries"
OUTAGE_S = 600.0  # of the API server: no longer than a run may take to start


class DeclaredPods(K8sRunLauncher):
    """Gives the pod of every run what its largest step is declared to get, whoever started it. Tags of a job do not reach runs of
    the automation and backfills (dagster-io/dagster#22865, #26720). A tag of the run itself is in force instead.
    """

    _unreachable_since: float | None = None

    def get_container_context_for_run(self, dagster_run: dg.DagsterRun) -> K8sContainerContext:
        is_decided = not dagster_run.tags.keys().isdisjoint((KUBERNETES, PER_STEP))
        pod = None if is_decided else Pod.largest(self._declared(dagster_run))
        declared = {KUBERNETES: json.dumps(kubernetes_config(pod))} if pod else {}
        return super().get_container_context_for_run(dagster_run.with_tags({**dagster_run.tags, **declared}))

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Dagster fails a run of unknown health: an API server that is gone for a moment would end every run."""
        result = super().check_run_worker_health(run)
        if result.status is WorkerStatus.UNKNOWN and self._is_outage(run, time.monotonic()):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        if result.status is not WorkerStatus.FAILED:
            return result
        reasons = dict(self._reasons(run))
        if not FINAL.isdisjoint(reasons):
            self._instance.add_run_tags(run.run_id, {MAX_RETRIES: "0"})
        return CheckRunHealthResult(result.status, " ".join(reasons.values()) or result.msg)

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        info = super().get_run_worker_debug_info(run, include_container_logs)
        return "\n".join([*dict(self._reasons(run)).values(), info or ""])

    def _declared(self, run: dg.DagsterRun) -> list[Pod]:
        plan = self._instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id or "")
        steps = [step for step in plan.steps if step.key in (run.step_keys_to_execute or plan.step_keys_to_execute)]
        return [Pod.model_validate_json(step.tags[POD]) for step in steps if step.tags and POD in step.tags]

    def _is_outage(self, run: dg.DagsterRun, now: float) -> bool:
        """Whether the API server does not answer, and has not for less than OUTAGE_S."""
        try:
            self._pods(run)
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            self._unreachable_since = self._unreachable_since or now
            return getattr(error, "status", 0) not in (403, 404) and now - self._unreachable_since < OUTAGE_S
        self._unreachable_since = None
        return False

    def _pods(self, run: dg.DagsterRun) -> list[Any]:
        namespace = self.get_container_context_for_run(run).namespace
        client: Any = self._api_client
        return client.get_pods_in_job(get_job_name_from_run_id(run.run_id), namespace)

    def _reasons(self, run: dg.DagsterRun) -> Iterator[tuple[str, str]]:
        """What Kubernetes says about each pod of the run, with what to do; nothing while the API server does not answer."""
        with suppress(ApiException, urllib3.exceptions.HTTPError):
            for pod in self._pods(run):
                states = [one.state for one in pod.status.container_statuses or ()]
                details = [detail for state in states for detail in (state.terminated, state.waiting) if detail]
                for reason in {pod.status.reason, *(detail.reason for detail in details)} & REMEDIES.keys():
                    yield reason, f"{reason} · the pod {pod.metadata.name} ended or cannot start: {_remedy(reason, pod)}."


def _remedy(reason: str, pod: Any) -> str:
    (container,) = pod.spec.containers
    limits: dict[str, str] = (container.resources and container.resources.limits) or {}
    return REMEDIES[reason].format(memory=limits.get("memory", "the node"), image=container.image, message=pod.status.message)
