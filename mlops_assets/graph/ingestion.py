"""From landed files to validated tables: landing (external), raw, validated with quarantine, and the checks of each partition."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.calendars import Calendar
from mlops_assets.foundation.grains import calendar_of
from mlops_assets.foundation.names import BAD_SHARE, EXPECTATIONS
from mlops_assets.graph.kernel.asset_metadata import (
    SCHEMA,
    asset_metadata,
    count_by_partition,
    delivered_schema,
    freshness,
    readable,
    rows_as_table,
    same_columns,
    spec_metadata,
    table_schema,
)  # fmt: skip
from mlops_assets.graph.kernel.assets import asset, multi_asset
from mlops_assets.graph.kernel.conditions import CASCADE
from mlops_assets.graph.kernel.tables import (
    GRAIN,
    ONE_RUN,
    PARTITION_COLUMN,
    RENAMED,
    DataFrame,
    LazyFrame,
    partitions_in_run,
    partitions_of,
)
from mlops_assets.resources import LandingResource, WarehouseResource
from mlops_assets.spec.code_version import raw_code, validated_code
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.pulled_source import PulledSource
from mlops_assets.spec.source import Files
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.ingestion.expectations import Finding
    from mlops_assets.ingestion.refusals import Refusal


DIGEST = dg.TableColumn("source_digest", "string", "Of the landed bytes that the row was read from.")
MAX_SHOWN = 3  # refused partitions in the description of a check; `mlops status` has the others


def build_ingestion(use_case: UseCase) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    """Landing, raw and validated assets of every source."""
    sources = [(source, use_case.contract(source.table)) for source in use_case.sources]
    return [build(use_case, contract, source) for source, contract in sources for build in (_landing, _raw, _validated)]


def _landing(use_case: UseCase, contract: Contract, source: Files) -> dg.AssetSpec:
    return dg.AssetSpec(
        names.landing(use_case.name, contract.table),
        deps=[names.pulled(use_case.name, contract.table)] if isinstance(source, PulledSource) else [],
        description=f"Files as delivered: {contract.description}",
        metadata={SCHEMA: delivered_schema(contract)},
        partitions_def=partitions_of(use_case, calendar_of(source.grain)),
        **spec_metadata(use_case, names.LANDING, *source.logos),
    )


def _raw(use_case: UseCase, contract: Contract, source: Files) -> dg.AssetsDefinition:
    table, landed = contract.table, names.landing(use_case.name, contract.table)
    calendar = calendar_of(source.grain)

    @asset(
        key=names.raw(use_case.name, table),
        deps=[landed],
        description=f"Exactly as delivered, every value still text: {contract.description}",
        metadata={
            **_stored(contract, calendar),
            SCHEMA: delivered_schema(contract, DIGEST),
            **same_columns(landed, contract.names),
        },
        partitions_def=partitions_of(use_case, calendar),
        backfill_policy=ONE_RUN,
        automation_condition=CASCADE,
        freshness_policy=freshness(use_case.freshness.raw, calendar) if use_case.is_due(table) else None,
        io_manager_key="tables",
        **asset_metadata(use_case, "raw", *source.logos, "deltalake", code=raw_code(source, contract), tables=[table]),
    )
    def raw(context: dg.AssetExecutionContext, landing: LandingResource, warehouse: WarehouseResource) -> DataFrame:
        from mlops_assets.ingestion.landing import describe_broken

        port, partitions = landing.open().of(source.form), partitions_in_run(context, calendar)
        known = warehouse.open().partitions(names.raw(use_case.name, table), calendar)
        rows = port.read(
            use_case.name,
            contract,
            partitions,
            calendar=calendar,
            required=use_case.is_due(table),
            known=known,
            max_bytes=source.max_bytes,
        )
        count_by_partition(context, calendar, rows)
        if broken := describe_broken(rows):
            context.log.error(broken)
            context.add_output_metadata({"broken_files": broken})
        return rows

    return raw


def _validated(use_case: UseCase, contract: Contract, source: Files) -> dg.AssetsDefinition:
    raw_table, calendar = names.raw(use_case.name, contract.table), calendar_of(source.grain)
    good, bad = (dg.AssetKey(name(use_case.name, contract.table)) for name in (names.validated, names.quarantine))
    stored, lineage = _stored(contract, calendar), same_columns(raw_table, contract.names)
    reasons = dg.TableColumn("reasons", "string", "Why the row breaks the contract.")
    common: dict[str, Any] = {
        "automation_condition": CASCADE,
        "partitions_def": partitions_of(use_case, calendar),
        **asset_metadata(
            use_case, "validated", "pandera", "deltalake", code=validated_code(source, contract), tables=[contract.table]
        ),
    }

    @multi_asset(
        name=f"{use_case.name}__validate_{contract.table}",
        ins={"raw": raw_table},
        outs={
            "validated": {
                "key": good, "description": contract.description,
                "metadata": {**stored, SCHEMA: table_schema(contract), **lineage}, **common,
            },
            "quarantine": {
                "key": bad, "description": f"Rows of {contract.table} that are not used, as delivered, with the reasons.",
                "metadata": {**stored, SCHEMA: delivered_schema(contract, reasons), **lineage}, **common,
            },
        },
        check_specs=_check_specs(contract, good, calendar),
        backfill_policy=ONE_RUN,
        io_manager_key="tables",
    )  # fmt: skip
    def validate(
        context: dg.AssetExecutionContext, raw: LazyFrame, *, landing: LandingResource, warehouse: WarehouseResource
    ) -> Iterator[Any]:
        from mlops_assets.ingestion.audit import audit_partitions
        from mlops_assets.ingestion.refusals import Refusal

        partitions, files, rows = partitions_in_run(context, calendar), landing.open().of(source.form), raw.collect()
        refusals = files.refusals(use_case.name, contract.table)
        digests = files.digests_of(use_case.name, contract, rows, partitions, calendar=calendar, max_bytes=source.max_bytes)
        table = warehouse.open().read_until([*good.path], max(partitions), calendar.column)
        waived = [*map(calendar.parse, refusals.waived(digests))]
        audit = audit_partitions(rows, table, contract, partitions=partitions, waived=waived, form=source.form, calendar=calendar)
        failed = {calendar.key(partition): messages for partition, messages in audit.failed.items()}
        refusals.record(digests, {key: Refusal(digests[key], messages) for key, messages in failed.items()})
        count_by_partition(context, calendar, audit.accepted, key=good)
        count_by_partition(context, calendar, audit.quarantined, key=bad)
        yield dg.Output(audit.accepted, "validated")
        yield dg.Output(audit.quarantined, "quarantine", metadata={"examples": _examples(audit.quarantined, contract)})
        yield from (_check(good, check, audit.findings[check], refusals.read(), calendar) for check in (BAD_SHARE, EXPECTATIONS))

    return validate


def _stored(contract: Contract, calendar: Calendar) -> dict[str, Any]:
    """How the IO manager stores the rows of a contract."""
    return {
        PARTITION_COLUMN: calendar.column,
        GRAIN: str(calendar),
        RENAMED: {column.renamed_from: column.name for column in contract.columns if column.renamed_from},
    }


def _check_specs(contract: Contract, asset: dg.AssetKey, calendar: Calendar) -> list[dg.AssetCheckSpec]:
    bounds = {
        BAD_SHARE: f"At most {contract.max_bad_share:.0%} of the rows of one {calendar.noun} break the contract.",
        EXPECTATIONS: f"Counts, gaps and categories look like those of each {calendar.noun} before.",
    }
    # Not blocking: the table never holds a day that fails. A blocking check of one day would stop what follows from the others.
    rule = f"Any {calendar.noun} that fails is not used until it is delivered again and passes, or is waived."
    return [dg.AssetCheckSpec(name, asset=asset, description=f"{bound} {rule}") for name, bound in bounds.items()]


def _check(
    asset: dg.AssetKey, name: str, findings: "list[Finding]", refused: "Mapping[str, Refusal]", calendar: Calendar
) -> dg.AssetCheckResult:
    """Fails while any partition of the table is refused, whichever a run has judged."""
    failed = [refusal.failed[name] for refusal in refused.values() if name in refusal.failed and not refusal.waiver]
    more = f" {len(failed) - MAX_SHOWN} more {calendar.noun}s are refused." if len(failed) > MAX_SHOWN else ""
    measured = {finding.name: number for finding in findings if isinstance(number := readable(finding.measured), (int, float))}
    return dg.AssetCheckResult(
        passed=not failed,
        asset_key=asset,
        check_name=name,
        metadata={"findings": rows_as_table(vars(finding) for finding in findings), **measured},
        description=" ".join(failed[:MAX_SHOWN]) + more or "All within bounds.",
    )


def _examples(quarantined: DataFrame, contract: Contract) -> Any:
    """A few rows for people, without identifying or personal columns: the event log keeps its entries for good."""
    hidden = [column.name for column in contract.columns if column.identifies or column.pii]
    quoting = ["reasons"] if hidden else []  # a reason quotes the value
    return rows_as_table(quarantined.head(5).drop(*hidden, *quoting, strict=False).to_dicts())
