"""`mlops observability`: configuration of Prometheus, Alertmanager, Grafana and OpenTelemetry."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from mlops_assets.cli.arguments import declared, environment, selected
from mlops_assets.foundation.home import Environment

STATUS = "http://127.0.0.1:3002"


def observability(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write into.", file_okay=False)],
    *,
    alertmanager: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where Prometheus sends alerts.")] = "127.0.0.1:9093",
    webhook: Annotated[str, typer.Option(metavar="URL", help="Where Alertmanager sends them.")] = "http://127.0.0.1:9095/",
    docs: Annotated[str, typer.Option(metavar="URL", help="The folder of the documentation, for links in alerts.")] = "docs",
    spans: Annotated[str, typer.Option(metavar="URL", help="Where the collector sends spans.")] = "http://127.0.0.1:4319",
) -> None:
    """Write rules, alerts, dashboards and configuration for Prometheus, Grafana and OpenTelemetry from the declarations."""
    from mlops_assets.observability.configuration import Places, write_configuration

    settings = environment(creates_home=True)
    places = Places(_services(settings), urlsplit(settings.status_url or STATUS).netloc, alertmanager, webhook, docs, spans)
    for path in write_configuration(folder, [declared(name) for name in selected()], places):
        typer.echo(f"  {path}")


def _services(settings: Environment) -> tuple[str, ...]:
    """Each once, as a process has one page of metrics for all of its use cases."""
    return tuple(dict.fromkeys(urlsplit(url).netloc for urls in settings.service_urls.values() for url in urls))
