"""MLflow runs for tests of what comes after a training."""

from mlops_assets.training.model_registry import ModelRegistry, TrackedRun


def new_run(registry: ModelRegistry, experiment: str, **tags: str) -> TrackedRun:
    return registry.tracked(registry.client.create_run(registry.experiment(experiment), tags=tags).info.run_id)
