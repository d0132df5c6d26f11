"""The code of the features of a version at its training, so that a feature whose code has changed since is named."""

from collections.abc import Collection, Iterator, Mapping

from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.spec.code_version import code_version, feature_code, is_outdated
from mlops_assets.spec.use_case import UseCase

PREFIX = "code.feature."
OF_ROWS = "entity_rows"


def record_feature_code(use_case: UseCase) -> dict[str, str]:
    """The code version of each view and request feature, that of a feature also by what it is computed from."""
    features, codes = use_case.features, {view.name: feature_code(view) for view in use_case.features.views}
    for one in features.request_features:
        codes[one.name] = code_version(one, [codes[column] for column in one.columns if column in codes])
    codes |= {OF_ROWS: code_version(features.entity_rows)} if features.entity_rows else {}
    return {f"{PREFIX}{name}": code for name, code in codes.items()}


def changed_features(use_case: UseCase, training: Mapping[str, str], inputs: Collection[str]) -> Iterator[str]:
    """What a version with these inputs reads and whose code has changed since its `training`, as recorded."""
    read = {*inputs, *(view.name for view in use_case.features.views), EVENT_TIMESTAMP, OF_ROWS}
    for recorded, code in record_feature_code(use_case).items():
        if (name := recorded.removeprefix(PREFIX)) in read and is_outdated(training.get(recorded), code):
            yield name
