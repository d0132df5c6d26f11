"""Writes what Prometheus, Alertmanager, Grafana, OpenTelemetry's collector and Kubernetes read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.observability.dashboards import as_grafana, build_boards
from mlops_assets.observability.rules import USUAL, Pace, build_alertmanager, build_collector, build_prometheus, build_rules
from mlops_assets.spec.use_case import UseCase

HEAD = "# Made by `mlops observability` from the declarations: run it again instead of editing this.\n"


class Places(NamedTuple):
    """Addresses as host:port, and of the webhook, the documentation and the store of spans as URLs."""

    services: tuple[str, ...]
    platform: str
    alertmanager: str = "127.0.0.1:9093"
    webhook: str = "http://127.0.0.1:9095/"
    docs: str = "docs"
    spans: str = "http://127.0.0.1:4319"


def write_configuration(folder: Path, use_cases: Sequence[UseCase], places: Places, pace: Pace = USUAL) -> list[Path]:
    """Returns the files."""
    texts = {**_documents(use_cases, places, pace), **_dashboards(use_cases)}
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        replace_file(folder / name, text.encode())
    return [folder / name for name in texts]


def _documents(use_cases: Sequence[UseCase], places: Places, pace: Pace) -> Mapping[str, str]:
    rules = build_rules(use_cases, pace, places.docs)
    prometheus = build_prometheus(services=places.services, platform=places.platform, alertmanager=places.alertmanager, pace=pace)
    documents = {
        "prometheus.yml": prometheus,
        "rules.yml": rules,
        "alertmanager.yml": build_alertmanager(use_cases, pace, places.webhook),
        "otel-collector.yml": build_collector(places.spans),
        "prometheus-rule.yml": as_kubernetes(rules),
    }
    return {name: HEAD + yaml.safe_dump(document, sort_keys=False, width=1000) for name, document in documents.items()}


def as_kubernetes(rules: Mapping[str, Any]) -> dict[str, Any]:
    """The same rules for Prometheus' operator."""
    metadata = {"name": "mlops", "labels": {"app.kubernetes.io/part-of": "mlops-assets"}}
    return {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": metadata, "spec": dict(rules)}


def _dashboards(use_cases: Sequence[UseCase]) -> Mapping[str, str]:
    return {f"dashboards/{board.uid}.json": as_grafana(board, use_cases) for board in build_boards(use_cases)}
