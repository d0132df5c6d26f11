"""`mlops why`, `mlops replay`, `mlops reproduce`: the origin of an answer or a model, and the same computed again."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli.arguments import Json, declared, environment
from mlops_assets.foundation.terminal import show

if TYPE_CHECKING:
    from mlops_assets.resources import Resources

PredictionId = Annotated[str, typer.Argument(help="The prediction_id of an answer.")]
OfUseCase = Annotated[str, typer.Option("--use-case", help="The use case of the answer or model.")]


def why(prediction_id: PredictionId, use_case: OfUseCase = "flight_delay", as_json: Json = False) -> None:
    """Show what one answer was computed from: features with their ages, model, gates, approvals, data and code."""
    from mlops_assets.cli import provenance_pages
    from mlops_assets.provenance.why import why as gather

    declaration, resources = declared(use_case), _resources()
    result = gather(
        declaration,
        prediction_id,
        log=resources["prediction_log"].open(declaration),
        deployment=resources["deployment"].open(use_case),
        keys=resources["signing_keys"].open(),
        ledger=resources["ledger"].open(),
        tables=resources["warehouse"].open(),
    )
    show(*([provenance_pages.as_json(result)] if as_json else provenance_pages.why_page(result)))


def replay(prediction_id: PredictionId, use_case: OfUseCase = "flight_delay") -> None:
    """Compute one answer again with the same model, and its features as of its moment; exit code 1 where either differs."""
    from mlops_assets.cli.provenance_pages import replay_page
    from mlops_assets.provenance.logged import features_of_views
    from mlops_assets.provenance.replay import replay as recompute

    declaration, resources = declared(use_case), _resources()
    result = recompute(
        declaration,
        resources["prediction_log"].open(declaration).find(prediction_id),
        deployment=resources["deployment"].open(use_case),
        keys=resources["signing_keys"].open(),
        views=features_of_views(declaration, resources["warehouse"].open()),
        open_store=resources["feature_store"].open,
    )
    show(*replay_page(result))
    raise typer.Exit(0 if result.is_same else 1)


def reproduce(
    version: Annotated[int, typer.Argument(help="A registered version; MLflow and `mlops status` list them.")],
    use_case: OfUseCase = "flight_delay",
) -> None:
    """Train one version again from its recorded rows; exit code 1 where the model differs."""
    from mlops_assets.cli.provenance_pages import reproduce_page
    from mlops_assets.provenance.reproduce import reproduce as train_again

    declaration, resources = declared(use_case), _resources()
    registry, tables, ledger = resources["registry"].open(), resources["warehouse"].open(), resources["ledger"].open()
    result = train_again(
        declaration, version, registry=registry, tables=tables, ledger=ledger, progress=partial(typer.echo, err=True)
    )
    show(*reproduce_page(result))
    raise typer.Exit(0 if result.is_good else 1)


def _resources() -> "Resources":
    from mlops_assets.resources import build_resources

    return build_resources(environment())
