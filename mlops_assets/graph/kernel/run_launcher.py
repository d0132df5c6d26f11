"""Runs as Kubernetes jobs. Only an instance's dagster.yaml names this module: dagster-k8s takes 4 s to import."""

import json

import dagster as dg
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext

from mlops_assets.graph.kernel.pods import KUBERNETES, PER_STEP, POD, kubernetes_config
from mlops_assets.spec.compute import Pod


class DeclaredPods(K8sRunLauncher):
    """Gives the pod of every run what its largest step is declared to get, whoever started it. Tags of a job do not reach runs of
    the automation and backfills (dagster-io/dagster#22865, #26720). A tag of the run itself is in force instead.
    """

    def get_container_context_for_run(self, dagster_run: dg.DagsterRun) -> K8sContainerContext:
        is_decided = not dagster_run.tags.keys().isdisjoint((KUBERNETES, PER_STEP))
        pod = None if is_decided else Pod.largest(self._declared(dagster_run))
        declared = {KUBERNETES: json.dumps(kubernetes_config(pod))} if pod else {}
        return super().get_container_context_for_run(dagster_run.with_tags({**dagster_run.tags, **declared}))

    def _declared(self, run: dg.DagsterRun) -> list[Pod]:
        plan = self._instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id or "")
        steps = [step for step in plan.steps if step.key in (run.step_keys_to_execute or plan.step_keys_to_execute)]
        return [Pod.model_validate_json(step.tags[POD]) for step in steps if step.tags and POD in step.tags]
