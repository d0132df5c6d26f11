"""`mlops why`, `mlops replay`, `mlops reproduce`: the origin of an answer or a model, and the same computed again."""

from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli.arguments import declared, environment, told_plainly
from mlops_assets.foundation.terminal import show
from mlops_assets.serving.log.prediction_log import AlteredLine, UnknownPrediction

if TYPE_CHECKING:
    from mlops_assets.resources import Resources

PredictionId = Annotated[str, typer.Argument(help="The prediction_id of an answer.")]
OfUseCase = Annotated[str, typer.Option("--use-case", help="Whose answer or model it is.")]


def why(
    prediction_id: PredictionId,
    use_case: OfUseCase = "flight_delay",
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
) -> None:
    """Show what one answer was computed from: features with their ages, model, gates, approvals, data and code."""
    from mlops_assets.cli.provenance_pages import as_json as whole
    from mlops_assets.cli.provenance_pages import why_page
    from mlops_assets.promotion.ledger import LedgerDown
    from mlops_assets.promotion.ledger_chain import UnreadableRecord
    from mlops_assets.provenance.why import why as gather

    with told_plainly(UnknownPrediction, AlteredLine, LedgerDown, UnreadableRecord):
        chosen, resources = declared(use_case), _resources()
        result = gather(
            chosen,
            prediction_id,
            log=resources["prediction_log"].open(chosen),
            deployment=resources["deployment"].open(chosen.name),
            keys=resources["signing_keys"].open(),
            ledger=resources["ledger"].open(),
            tables=resources["warehouse"].open(),
        )
        show(*([whole(result)] if as_json else why_page(result)))


def replay(prediction_id: PredictionId, use_case: OfUseCase = "flight_delay") -> None:
    """Compute one answer again with the same model, and its features as of its moment; exit code 1 where either differs."""
    from mlops_assets.cli.provenance_pages import replay_page
    from mlops_assets.provenance.logged import features_of_views
    from mlops_assets.provenance.replay import replay as recompute

    with told_plainly(UnknownPrediction, AlteredLine):
        chosen, resources = declared(use_case), _resources()
        result = recompute(
            chosen,
            resources["prediction_log"].open(chosen).find(prediction_id),
            deployment=resources["deployment"].open(chosen.name),
            keys=resources["signing_keys"].open(),
            views=features_of_views(chosen, resources["warehouse"].open()),
            open_store=resources["feature_store"].open,
        )
        show(*replay_page(result))
        raise typer.Exit(0 if result.is_same else 1)


def reproduce(
    version: Annotated[int, typer.Argument(help="A registered version; MLflow and `mlops status` name them.")],
    use_case: OfUseCase = "flight_delay",
) -> None:
    """Train one version again from its recorded rows; exit code 1 where the model differs."""
    from mlops_assets.cli.provenance_pages import reproduce_page
    from mlops_assets.provenance.reproduce import NOT_REPRODUCIBLE
    from mlops_assets.provenance.reproduce import reproduce as train_again

    with told_plainly(*NOT_REPRODUCIBLE):
        chosen, resources = declared(use_case), _resources()
        registry, tables, ledger = resources["registry"].open(), resources["warehouse"].open(), resources["ledger"].open()
        result = train_again(chosen, version, registry=registry, tables=tables, ledger=ledger, progress=_log)
        show(*reproduce_page(result))
        raise typer.Exit(0 if result.is_good else 1)


def _log(line: str) -> None:
    typer.echo(line, err=True)


def _resources() -> "Resources":
    from mlops_assets.resources import build_resources

    return build_resources(environment())
