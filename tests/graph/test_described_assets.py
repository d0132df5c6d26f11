"""What people read on every asset: owner, sentence, kinds, group, schema; and keys that no two use cases share."""

from typing import Any

import dagster as dg
import pytest

from mlops_assets.foundation import names
from mlops_assets.graph.compile import build_use_case
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases.flight_delay import USE_CASE


def specs_of(use_case: UseCase) -> dict[dg.AssetKey, dg.AssetSpec]:
    assets: Any = build_use_case(use_case).assets
    return {spec.key: spec for asset in assets for spec in ([asset] if isinstance(asset, dg.AssetSpec) else asset.specs)}


SPECS = specs_of(USE_CASE)


@pytest.mark.parametrize("spec", SPECS.values(), ids=[key.to_user_string() for key in SPECS])
def test_every_asset_says_whose_it_is_and_what_it_is(spec: dg.AssetSpec) -> None:
    assert spec.group_name == names.group(USE_CASE.name, spec.tags["mlops/stage"])
    assert list(spec.owners) == [USE_CASE.owner]
    assert spec.kinds
    assert spec.tags["mlops/stage"]
    description = spec.description or ""
    assert description[:1].isupper() and description.endswith(".") and "\n" not in description and len(description) > 20


@pytest.mark.parametrize("table", [contract.table for contract in USE_CASE.contracts])
def test_every_validated_table_shows_its_columns(table: str) -> None:
    metadata: Any = SPECS[dg.AssetKey(names.validated(USE_CASE.name, table))].metadata
    schema: dg.TableSchema = (
        metadata["dagster/column_schema"].schema
        if hasattr(metadata["dagster/column_schema"], "schema")
        else metadata["dagster/column_schema"]
    )
    contract = USE_CASE.contract(table)
    assert [column.name for column in schema.columns] == list(contract.names)
    assert all(column.description for column in schema.columns)
    assert [column.constraints.nullable for column in schema.columns] == [column.nullable for column in contract.columns]


def test_node_names_are_unique_and_tables_keep_their_folders() -> None:
    assert {len(key.path) for key in SPECS} == {2}
    assert len({key.path[-1] for key in SPECS}) == len(SPECS)
    paths = [
        (names.raw("shop", "raw_features"), "shop/raw/raw_features.delta"),
        (names.validated("shop", "orders"), "shop/validated/orders.delta"),
        (names.quarantine("shop", "orders"), "shop/quarantine/orders.delta"),
        (names.feature("shop", "customer_spend"), "shop/feature/customer_spend.delta"),
        (names.stage("shop", "training_set"), "shop/training_set.delta"),
        (["shop", "raw", "orders"], "shop/raw/orders.delta"),
    ]
    assert [str(names.table_path(asset)) for asset, _path in paths] == [path for _asset, path in paths]
    assert names.table_tag(names.validated("shop", "orders")) == "table.validated.orders"
    assert names.table_tag(names.stage("shop", "training_set")) == "table.training_set"


def test_the_graph_has_every_stage_of_the_line_and_no_other() -> None:
    tables = [contract.table for contract in USE_CASE.contracts]
    views = [view.name for view in USE_CASE.features.views]
    stages = (
        "training_set",
        "candidate",
        "evaluation",
        "blessing",
        "rollout",
        "service",
        "predictions",
        "outcomes",
        "drift",
        "performance",
        "skew",
        "operations",
        "investigation",
        "feature_catalog",
    )
    expected = [
        name(USE_CASE.name, table) for name in (names.landing, names.raw, names.validated, names.quarantine) for table in tables
    ]
    expected += [name(USE_CASE.name, view) for name in (names.feature, names.online) for view in views]
    expected += [names.stage(USE_CASE.name, name) for name in stages] + [names.stage(USE_CASE.name, "prediction_log")]
    assert set(SPECS) == {dg.AssetKey(path) for path in expected}


def test_a_second_use_case_shares_no_name_with_the_first() -> None:
    second = USE_CASE.but(name="other_line")
    assert not set(specs_of(second)) & set(SPECS)
    first, other = build_use_case(USE_CASE), build_use_case(second)
    for kind in ("jobs", "sensors", "schedules"):
        assert not {definition.name for definition in getattr(first, kind) or ()} & {
            definition.name for definition in getattr(other, kind) or ()
        }


def test_code_versions_follow_the_declaration() -> None:
    edited = specs_of(USE_CASE.but(gates=USE_CASE.gates[:1]))
    changed = {key for key, spec in edited.items() if spec.code_version != SPECS[key].code_version}
    assert changed == {dg.AssetKey(names.stage(USE_CASE.name, "evaluation"))}
