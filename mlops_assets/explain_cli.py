"""`mlops why`, `mlops replay`, `mlops reproduce`: from one id to everything behind it, and the same once more.

Belongs here: arguments, which ports are opened, exit codes. Not here: any of the work (provenance/).
"""

from typing import Annotated, Any

import typer

from mlops_assets.cli_arguments import declared, environment, told_plainly
from mlops_assets.ports.prediction_log import AlteredLine, UnknownPrediction

PredictionId = Annotated[str, typer.Argument(help="The prediction_id of an answer.")]
OfUseCase = Annotated[str, typer.Option("--use-case", help="Whose answer or model it is.")]


def why(
    prediction_id: PredictionId,
    use_case: OfUseCase = "flight_delay",
    as_json: Annotated[bool, typer.Option("--json", help="For programs; whole.")] = False,
) -> None:
    """What one answer was given from: features with their ages, model, gates, approvals, data and code."""
    from mlops_assets.ports.ledger import LedgerDown
    from mlops_assets.ports.ledger_chain import UnreadableRecord
    from mlops_assets.provenance import why_page
    from mlops_assets.provenance.why import why as gather

    with told_plainly(UnknownPrediction, AlteredLine, LedgerDown, UnreadableRecord):
        chosen, opened = declared(use_case), _opened("prediction_log", "deployment", "keys", "ledger", "warehouse")
        found = gather(
            chosen,
            prediction_id,
            log=opened["prediction_log"](chosen),
            deployment=opened["deployment"](chosen.name),
            keys=opened["keys"],
            ledger=opened["ledger"],
            tables=opened["warehouse"],
        )
        typer.echo(why_page.as_json(found) if as_json else why_page.as_text(found))


def replay(prediction_id: PredictionId, use_case: OfUseCase = "flight_delay") -> None:
    """Compute one answer again, with the very model, and its features as of its moment; exit code 1 where either differs."""
    from mlops_assets.provenance import replay_page
    from mlops_assets.provenance.logged import features_of_views
    from mlops_assets.provenance.replay import replay as recompute

    with told_plainly(UnknownPrediction, AlteredLine):
        chosen = declared(use_case)
        opened = _opened("prediction_log", "deployment", "keys", "warehouse", "feature_store")
        found = recompute(
            chosen,
            opened["prediction_log"](chosen).find(prediction_id),
            deployment=opened["deployment"](chosen.name),
            keys=opened["keys"],
            views=features_of_views(chosen, opened["warehouse"]),
            open_store=opened["feature_store"],
        )
        typer.echo(replay_page.as_text(found))
        raise typer.Exit(0 if found.is_same else 1)


def reproduce(
    version: Annotated[int, typer.Argument(help="A registered version; MLflow and `mlops status` name them.")],
    use_case: OfUseCase = "flight_delay",
) -> None:
    """Train one version again from its recorded rows; exit code 1 where the model is another one."""
    from mlops_assets.provenance import reproduce_page
    from mlops_assets.provenance.reproduce import NOT_REPRODUCIBLE
    from mlops_assets.provenance.reproduce import reproduce as train_again

    with told_plainly(*NOT_REPRODUCIBLE):
        chosen, opened = declared(use_case), _opened("registry", "warehouse", "ledger")
        registry, tables, ledger = opened["registry"], opened["warehouse"], opened["ledger"]
        found = train_again(chosen, version, registry=registry, tables=tables, ledger=ledger, progress=_aside)
        typer.echo(reproduce_page.as_text(found))
        raise typer.Exit(0 if found.is_good else 1)


def _aside(line: str) -> None:
    typer.echo(line, err=True)


def _opened(*keys: str) -> dict[str, Any]:
    """Ports of the chosen environment by their resource keys."""
    from mlops_assets.resources import TABLES

    asked = environment()
    return {key: TABLES[asked.name][key](asked) for key in keys}
