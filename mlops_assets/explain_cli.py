"""`mlops why`, `mlops replay`, `mlops reproduce`: the origin of an answer or a model, and the same computed again."""

from typing import Annotated, Any

import typer

from mlops_assets.cli_arguments import declared, environment, told_plainly
from mlops_assets.ports.prediction_log import AlteredLine, UnknownPrediction
from mlops_assets.terminal import show

PredictionId = Annotated[str, typer.Argument(help="The prediction_id of an answer.")]
OfUseCase = Annotated[str, typer.Option("--use-case", help="Whose answer or model it is.")]


def why(
    prediction_id: PredictionId,
    use_case: OfUseCase = "flight_delay",
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
) -> None:
    """Show what one answer was computed from: features with their ages, model, gates, approvals, data and code."""
    from mlops_assets.ports.ledger import LedgerDown
    from mlops_assets.ports.ledger_chain import UnreadableRecord
    from mlops_assets.provenance.pages import as_json as whole
    from mlops_assets.provenance.pages import why_page
    from mlops_assets.provenance.why import why as gather

    with told_plainly(UnknownPrediction, AlteredLine, LedgerDown, UnreadableRecord):
        chosen, opened = declared(use_case), _opened("prediction_log", "deployment", "keys", "ledger", "warehouse")
        result = gather(
            chosen,
            prediction_id,
            log=opened["prediction_log"](chosen),
            deployment=opened["deployment"](chosen.name),
            keys=opened["keys"],
            ledger=opened["ledger"],
            tables=opened["warehouse"],
        )
        show(*([whole(result)] if as_json else why_page(result)))


def replay(prediction_id: PredictionId, use_case: OfUseCase = "flight_delay") -> None:
    """Compute one answer again with the same model, and its features as of its moment; exit code 1 where either differs."""
    from mlops_assets.provenance.logged import features_of_views
    from mlops_assets.provenance.pages import replay_page
    from mlops_assets.provenance.replay import replay as recompute

    with told_plainly(UnknownPrediction, AlteredLine):
        chosen = declared(use_case)
        opened = _opened("prediction_log", "deployment", "keys", "warehouse", "feature_store")
        result = recompute(
            chosen,
            opened["prediction_log"](chosen).find(prediction_id),
            deployment=opened["deployment"](chosen.name),
            keys=opened["keys"],
            views=features_of_views(chosen, opened["warehouse"]),
            open_store=opened["feature_store"],
        )
        show(*replay_page(result))
        raise typer.Exit(0 if result.is_same else 1)


def reproduce(
    version: Annotated[int, typer.Argument(help="A registered version; MLflow and `mlops status` name them.")],
    use_case: OfUseCase = "flight_delay",
) -> None:
    """Train one version again from its recorded rows; exit code 1 where the model differs."""
    from mlops_assets.provenance.pages import reproduce_page
    from mlops_assets.provenance.reproduce import NOT_REPRODUCIBLE
    from mlops_assets.provenance.reproduce import reproduce as train_again

    with told_plainly(*NOT_REPRODUCIBLE):
        chosen, opened = declared(use_case), _opened("registry", "warehouse", "ledger")
        registry, tables, ledger = opened["registry"], opened["warehouse"], opened["ledger"]
        result = train_again(chosen, version, registry=registry, tables=tables, ledger=ledger, progress=_log)
        show(*reproduce_page(result))
        raise typer.Exit(0 if result.is_good else 1)


def _log(line: str) -> None:
    typer.echo(line, err=True)


def _opened(*keys: str) -> dict[str, Any]:
    """Ports of the chosen environment by their resource keys."""
    from mlops_assets.resources import TABLES

    chosen = environment()
    return {key: TABLES[chosen.name][key](chosen) for key in keys}
