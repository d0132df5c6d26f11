"""From landed files to validated tables: landing (external), raw, validated with quarantine, and their blocking checks."""

from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.graph.kernel.asset_metadata import asset_metadata, count_by_day, rows_as_table, table_schema
from mlops_assets.graph.kernel.conditions import CASCADE
from mlops_assets.graph.kernel.partitions import ONE_RUN, days_in_run, days_of
from mlops_assets.graph.kernel.tables import DAY, DataFrame, LazyFrame
from mlops_assets.resources import LandingResource, WarehouseResource
from mlops_assets.spec.contract import Contract, Files
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.ingestion.validate import Finding

USUAL = "Counts, gaps and categories look like those of the days before."
BAD_SHARE, EXPECTATIONS = "bad_rows_within_bound", "rows_as_expected"


def build_ingestion(use_case: UseCase) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    """Landing, raw and validated assets of every source."""
    built: list[dg.AssetSpec | dg.AssetsDefinition] = []
    for source in use_case.sources:
        contract = use_case.contract(source.table)
        built += [_landing(use_case, contract), _raw(use_case, source, contract), _validated(use_case, contract)]
    return built


def _landing(use_case: UseCase, contract: Contract) -> dg.AssetSpec:
    return dg.AssetSpec(
        names.landing(use_case.name, contract.table),
        description=f"Files as delivered: {contract.description}",
        partitions_def=days_of(use_case),
        owners=[use_case.owner],
        group_name=use_case.name,
        kinds={"csv"},
        tags={"mlops/stage": "landing"},
    )


def _raw(use_case: UseCase, source: Files, contract: Contract) -> dg.AssetsDefinition:
    @dg.asset(
        key=names.raw(use_case.name, source.table),
        deps=[names.landing(use_case.name, source.table)],
        description=f"Exactly as delivered, every value still text: {contract.description}",
        metadata=DAY,
        partitions_def=days_of(use_case),
        backfill_policy=ONE_RUN,
        automation_condition=CASCADE,
        freshness_policy=_freshness(use_case, source),
        io_manager_key="tables",
        **asset_metadata(use_case, "raw", "csv", "deltalake", made_from="raw", tables=[source.table]),
    )
    def raw(context: dg.AssetExecutionContext, landing: LandingResource) -> DataFrame:
        rows = landing.open().read(use_case.name, contract, days_in_run(context), required=use_case.is_daily(source.table))
        count_by_day(context, rows)
        return rows

    return raw


def _freshness(use_case: UseCase, source: Files) -> dg.FreshnessPolicy | None:
    if not use_case.is_daily(source.table):
        return None
    return dg.FreshnessPolicy.time_window(fail_window=use_case.freshness.raw)


def _validated(use_case: UseCase, contract: Contract) -> dg.AssetsDefinition:
    good, bad = (dg.AssetKey(name(use_case.name, contract.table)) for name in (names.validated, names.quarantine))
    said = asset_metadata(use_case, "validated", "pandera", "deltalake", made_from="validated", tables=[contract.table])

    @dg.multi_asset(
        name=f"{use_case.name}__validate_{contract.table}",
        ins={"raw": dg.AssetIn(names.raw(use_case.name, contract.table))},
        outs={
            "validated": dg.AssetOut(
                key=good, io_manager_key="tables", automation_condition=CASCADE, description=contract.description,
                metadata={**DAY, "dagster/column_schema": table_schema(contract)}, **said,
            ),
            "quarantine": dg.AssetOut(
                key=bad, io_manager_key="tables", automation_condition=CASCADE, metadata=DAY,
                description=f"Rows of {contract.table} that break the contract, as delivered, each with its reasons.", **said,
            ),
        },
        check_specs=_check_specs(contract, good),
        partitions_def=days_of(use_case),
        backfill_policy=ONE_RUN,
    )  # fmt: skip
    def validate(context: dg.AssetExecutionContext, raw: LazyFrame, warehouse: WarehouseResource) -> Iterator[Any]:
        from mlops_assets.ingestion.validate import check_bad_share, check_expectations, split_rows

        split = split_rows(raw.collect(), contract)
        history = warehouse.open().read_before([*good.path], min(days_in_run(context)))
        count_by_day(context, split.accepted, good)
        count_by_day(context, split.quarantined, bad)
        yield dg.Output(split.accepted, "validated")
        yield dg.Output(split.quarantined, "quarantine", metadata={"examples": _examples(split.quarantined, contract)})
        yield _check(good, BAD_SHARE, [check_bad_share(split, contract)])
        yield _check(good, EXPECTATIONS, check_expectations(split.accepted, history, contract, days=days_in_run(context)))

    return validate


def _check_specs(contract: Contract, asset: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    bound = f"At most {contract.max_bad_share:.0%} of a day's rows break the contract."
    return [
        dg.AssetCheckSpec(BAD_SHARE, asset=asset, blocking=True, description=bound),
        dg.AssetCheckSpec(EXPECTATIONS, asset=asset, blocking=True, description=USUAL),
    ]


def _check(asset: dg.AssetKey, name: str, findings: "list[Finding]") -> dg.AssetCheckResult:
    failed = [finding.message for finding in findings if not finding.passed]
    table = rows_as_table(vars(finding) for finding in findings)
    return dg.AssetCheckResult(
        passed=not failed,
        asset_key=asset,
        check_name=name,
        metadata={"findings": table, **{finding.name: finding.measured for finding in findings if isfinite(finding.measured)}},
        description="; ".join(failed) or "All within bounds.",
    )


def _examples(quarantined: DataFrame, contract: Contract) -> Any:
    """A few rows for people, without what tells who somebody is: an event log keeps what it was told for good."""
    hidden = [column.name for column in contract.columns if column.identifies or column.pii]
    quoting = ["reasons"] if hidden else []
    return rows_as_table(quarantined.head(5).drop(*hidden, *quoting, strict=False).to_dicts())
