"""Assets and checks, built from Dagster's classes in 0.2 ms each. Dagster's decorators take 1 ms, as they inspect the signature
of the same function again for every use case. The parameters of a function are `context`, its `ins`, and resources.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import isgenerator
from typing import Any, cast

import dagster as dg

from mlops_assets.foundation.names import AssetPath
from mlops_assets.graph.kernel.lasting_failures import failing_by_rule

Function = Callable[..., Any]
Inputs = Mapping[str, AssetPath | dg.AssetDep]
RESULT = "result"  # Dagster's name of an only output
ANY, NOTHING = cast(dg.DagsterType, Any), cast(dg.DagsterType, dg.Nothing)
OF_A_CHECK, AFTER = dg.Out(ANY), dg.In(NOTHING)


class _FewResources(dg.AssetsDefinition):
    """Gets the resources that it needs alone: Dagster goes through all that it gets, for every asset."""

    def with_resources(self, resource_defs: Mapping[str, dg.ResourceDefinition]) -> dg.AssetsDefinition:
        needed = self.required_resource_keys
        return super().with_resources({key: one for key, one in resource_defs.items() if key in needed})


class _Checks(_FewResources, dg.AssetChecksDefinition):
    """Checks without the asset that they judge."""


def asset(
    *,
    key: AssetPath | dg.AssetKey,
    ins: Inputs | None = None,
    deps: Sequence[AssetPath] = (),
    check_specs: Sequence[dg.AssetCheckSpec] = (),
    io_manager_key: str | None = None,
    dagster_type: dg.DagsterType | None = None,
    backfill_policy: dg.BackfillPolicy | None = None,
    **attributes: Any,
) -> Callable[[Function], dg.AssetsDefinition]:
    """As @dg.asset; `attributes` are those of an AssetSpec."""
    path = dg.AssetKey.from_coercible(key)

    def build(function: Function) -> dg.AssetsDefinition:
        return multi_asset(
            name=path.to_python_identifier(),
            outs={RESULT: {"key": path, **attributes}},
            dagster_type=dagster_type or _returned(function),
            ins=ins or {},
            deps=deps,
            check_specs=check_specs,
            io_manager_key=io_manager_key,
            backfill_policy=backfill_policy,
            description=attributes["description"],
            code_version=attributes["code_version"],
        )(function)

    return build


def multi_asset(
    *,
    name: str,
    outs: Mapping[str, dict[str, Any]],
    ins: Inputs,
    check_specs: Sequence[dg.AssetCheckSpec],
    io_manager_key: str | None,
    backfill_policy: dg.BackfillPolicy | None,
    deps: Sequence[AssetPath] = (),
    dagster_type: Any = ANY,
    **op: Any,
) -> Callable[[Function], dg.AssetsDefinition]:
    """As @dg.multi_asset; `outs` has the attributes of an AssetSpec for every output, and `op_tags`."""
    tags: dict[str, Any] = {}
    for spec in outs.values():
        tags |= spec.pop("op_tags", {})
    checks, parents = {spec.get_python_identifier(): spec for spec in check_specs}, _parents({**ins, **_after(deps)})
    results = {
        output: dg.Out(
            dagster_type,
            spec["description"],
            metadata=spec.get("metadata"),  # for the IO manager
            io_manager_key=io_manager_key,
            code_version=spec["code_version"],
        )
        for output, spec in outs.items()
    }

    def build(function: Function) -> dg.AssetsDefinition:
        return _FewResources(
            keys_by_input_name={name: parent.asset_key for name, parent in parents.items()},
            keys_by_output_name={output: spec["key"] for output, spec in outs.items()},
            node_def=_op(function, name, (ins, deps), {**results, **dict.fromkeys(checks, OF_A_CHECK)}, tags=tags, **op),
            specs=[dg.AssetSpec(**spec, deps=parents.values()) for spec in outs.values()],
            check_specs_by_output_name=checks,
            backfill_policy=backfill_policy,
        )

    return build


def asset_check(*, asset: AssetPath, name: str, **attributes: Any) -> Callable[[Function], dg.AssetChecksDefinition]:
    """As @dg.asset_check; `attributes` are those of an AssetCheckSpec."""
    spec = dg.AssetCheckSpec(name, asset=dg.AssetKey(asset), **attributes)

    def build(function: Function) -> dg.AssetChecksDefinition:
        return _Checks(
            keys_by_input_name=dict.fromkeys(_after([asset]), spec.asset_key),
            keys_by_output_name={},
            node_def=_op(function, spec.get_python_identifier(), ({}, [asset]), {RESULT: OF_A_CHECK}),
            check_specs_by_output_name={RESULT: spec},
        )

    return build


def _returned(function: Function) -> Any:
    """The type of the value that the function returns, as far as Dagster checks it."""
    returned = function.__annotations__["return"]
    return NOTHING if returned is dg.MaterializeResult else returned if isinstance(returned, (type, dg.DagsterType)) else ANY


def _after(assets: Sequence[AssetPath]) -> dict[str, AssetPath]:
    """Inputs without a value, named as Dagster does."""
    return {"_".join(path): path for path in assets}


def _parents(ins: Inputs) -> dict[str, dg.AssetDep]:
    return {name: one if isinstance(one, dg.AssetDep) else dg.AssetDep(one) for name, one in ins.items()}


def _op(
    function: Function, name: str, read: tuple[Inputs, Sequence[AssetPath]], outs: Mapping[str, dg.Out], **options: Any
) -> dg.OpDefinition:
    code, types, (ins, deps) = function.__code__, function.__annotations__, read
    count = code.co_argcount + code.co_kwonlyargcount
    parameters, others = {*code.co_varnames[:count]}, code.co_varnames[count : count + 1]  # the latter is **kwargs
    resources = parameters - ins.keys() - {"context"}
    values = {one: dg.In(types[one if one in parameters else others[0]]) for one in ins}
    return dg.OpDefinition(
        _compute(function, resources, takes_context="context" in parameters),
        name,
        ins=values | dict.fromkeys(_after(deps), AFTER),
        outs=outs,
        required_resource_keys=resources,
        **options,
    )


def _compute(function: Function, resources: set[str], *, takes_context: bool) -> Function:
    # Not `context`: Dagster would read its annotation, which is not the same for assets and checks.
    def compute(*arguments: Any) -> Iterator[Any]:
        context, inputs = arguments
        values = {**inputs, **{name: getattr(context.resources, name) for name in resources}}
        with failing_by_rule(context):
            result = function(context, **values) if takes_context else function(**values)
            if isgenerator(result):
                yield from result
            else:
                yield result if isinstance(result, (dg.MaterializeResult, dg.AssetCheckResult)) else dg.Output(result)

    return compute
