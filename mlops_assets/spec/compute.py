"""What the work of a use case gets on a cluster. One machine ignores it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Self

from pydantic import Field

from mlops_assets.spec.spec import Spec

# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels: a prefix of 253 letters and a name of 63.
_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LabelKey = Annotated[str, Field(pattern=rf"^([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_NAME}$")]
LabelValue = Annotated[str, Field(pattern=rf"^({_NAME})?$")]


class Pod(Spec):
    """Cores and memory (GiB) are requested; memory is the limit too. Cores have no limit: it would only delay. `gpus` are of
    NVIDIA, `node_selector` has labels of the nodes on which the pod may run.
    """

    cpu: float = Field(ge=0.001)  # the smallest that Kubernetes takes
    memory_gib: float = Field(ge=1 / 1024)
    gpus: int = Field(default=0, ge=0)
    node_selector: Mapping[LabelKey, LabelValue] = {}

    @classmethod
    def largest(cls, pods: Iterable[Self]) -> Self | None:
        """The least pod in which all of these fit, one after the other; None of none."""
        if not (declared := [*pods]):
            return None
        sizes = {name: max(getattr(pod, name) for pod in declared) for name in ("cpu", "memory_gib", "gpus")}
        return cls(**sizes, node_selector={label: value for pod in declared for label, value in pod.node_selector.items()})


class Compute(Spec):
    """The pods of the groups of the lineage graph; None: as the deployment has it. One run is one pod, as large as its largest
    step; with `pod_per_step` each step of a training is a pod of its own, which takes about 6 s to start.
    """

    raw: Pod | None = None
    validated: Pod | None = None
    features: Pod | None = None
    training: Pod | None = None
    serving: Pod | None = None
    monitoring: Pod | None = None
    pod_per_step: bool = False

    def pod(self, group: str) -> Pod | None:
        return getattr(self, group)

    def contradictions(self) -> Iterator[str]:
        declared = {name: pod for name in type(self).model_fields if isinstance(pod := getattr(self, name), Pod)}
        labels: dict[str, tuple[str, str]] = {}
        for name, pod in declared.items():
            for label, value in pod.node_selector.items():
                other, before = labels.setdefault(label, (name, value))
                if before != value:
                    problem = f"node_selector {label} of {other} is {before!r}, and of {name} {value!r}"
                    yield f"{problem}; legal: one value, as one run may have steps of both. Name one, or leave one out."
