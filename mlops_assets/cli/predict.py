"""`mlops predict`: asks the service that runs, and shows the same request for curl."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import RenderableType

from mlops_assets.cli.arguments import Name, declared, environment, open_resources
from mlops_assets.foundation.terminal import facts, show, table
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.serving.client import LiveService, RequestRefused
    from mlops_assets.serving.request_rows import Row

ROW = """A row as JSON, '{"column": value, …}', or one column=value of a row."""


def predict(
    use_case: Name,
    pairs: Annotated[list[str] | None, typer.Argument(metavar="[COLUMN=VALUE]...", help="More columns of the row.")] = None,
    *,
    row: Annotated[list[str] | None, typer.Option(help=ROW)] = None,
    sample: Annotated[int, typer.Option(min=0, max=100, help="Send so many of the newest validated rows.")] = 0,
    explain: Annotated[bool, typer.Option("--explain", help="Show what each input adds.")] = False,
) -> None:
    """Ask the running service for predictions, and print the curl line that does the same."""
    from mlops_assets.serving.client import RequestRefused
    from mlops_assets.serving.request_rows import curl_line

    declaration = declared(use_case)
    rows = _rows(declaration, [*(row or []), *(pairs or [])], sample)
    with _service(use_case) as service:
        try:
            answers = service.predict(rows, explain=explain)
        except RequestRefused as refused:
            _show_refusal(use_case, refused)
            raise typer.Exit(1) from None
    show(*_page(answers, declaration))
    key = "$MLOPS_API_KEY" if environment(creates_home=True).api_key else None
    typer.echo(f"\nThe same with curl:\n{curl_line(service.url, use_case, rows, explain=explain, key=key)}")


def _rows(use_case: UseCase, texts: list[str], sample: int) -> "list[Row]":
    from mlops_assets.serving.request_rows import parse_rows, sample_rows

    if bool(texts) == bool(sample):
        found = "both rows and --sample" if texts else "neither a row nor --sample"
        raise typer.BadParameter(f"found {found}; legal: --row COLUMN=VALUE … or --sample N. Use one of them.")
    if sample:
        return sample_rows(use_case, open_resources(creates_home=True)["warehouse"].open(), sample)
    return parse_rows(texts, use_case)


def _service(use_case: str) -> "LiveService":
    """The first server of the use case, once it serves a version. Raises ServiceUnavailable."""
    from mlops_assets.serving.client import Served, ServiceUnavailable, no_server

    services = open_resources(creates_home=True)["live_services"].open(use_case)
    if problem := no_server(use_case, services):
        raise ServiceUnavailable(problem)
    service, *_ = services
    served = Served(service.url, use_case, service.plan(), in_force=False)
    if served.reported is None:
        remedy = "Start it with `mlops up`, or set MLOPS_SERVICE_URL to its address"
        raise ServiceUnavailable(f"{service.url} · no prediction service answers there. {remedy}.")
    if served.is_of_another:
        raise ServiceUnavailable(served.problem)
    if served.reported["champion"] is None:
        error = served.reported["last_load_error"]
        why = f"its last load error: {error}" if error else "no version is champion yet"
        raise ServiceUnavailable(f"{service.url} · {use_case} is not served: {why}. `mlops status {use_case}` says what is next.")
    return service


def _show_refusal(use_case: str, refused: "RequestRefused") -> None:
    """Each problem by row and field, on stderr."""
    try:
        content = json.loads(refused.body)
        lines = [_problem(problem) for problem in content.get("errors") or [content["error"]]]
    except (ValueError, LookupError, TypeError, AttributeError):
        lines = [str(refused)]
    typer.echo(f"{use_case} · the service refuses the request (HTTP {refused.status}):", err=True)
    for line in lines:
        typer.echo(f"  {line}", err=True)


def _problem(problem: Mapping[str, Any]) -> str:
    row, field = problem.get("row"), problem.get("field")
    place = " · ".join([*([] if row is None else [f"row {row + 1}"]), *([field] if field else [])])
    return f"{place}{': ' if place else ''}found {problem['found']}; legal: {problem['legal']}. {problem['next']}"


def _page(answers: list[dict[str, Any]], use_case: UseCase) -> Iterator[RenderableType]:
    from mlops_assets.tasks import task_of

    added = f"what each input adds to the baseline, in {task_of(use_case.task).ADDED_IN}"
    plain = [{name: value for name, value in answer.items() if name not in ("warnings", "explanation")} for answer in answers]
    heads = ["row", *plain[0]]
    rows = ([number, *map(_shown, answer.values())] for number, answer in enumerate(plain, start=1))
    yield table(heads, rows)
    for number, answer in enumerate(answers, start=1):
        yield from (f"row {number}: {warning}" for warning in answer["warnings"])
        if explanation := answer.get("explanation"):
            yield ""
            start = {name: value for name, value in explanation.items() if name.startswith("baseline")}
            texts = {name: f"{value:.4f}" for name, value in start.items()}
            texts |= {name: f"{value:+.4f}" for name, value in explanation["contributions"].items()}
            yield facts(f"Row {number}: {added}", texts)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(one)}" for name, one in cast(dict[str, Any], value).items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)
