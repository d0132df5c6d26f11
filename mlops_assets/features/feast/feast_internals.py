"""Every undocumented symbol of Feast 0.67 in use, and a light import of Feast."""

import importlib
import sys
from collections.abc import Generator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typeguard

if TYPE_CHECKING:
    import feast
    from feast.infra.provider import Provider
    from feast.repo_contents import RepoContents


def import_feast() -> None:
    """Does nothing where Feast is imported already."""
    # 2 s of CPU instead of 7, and 0.4 GB less: Feast has typeguard instrument its classes (3 s; typeguard itself skips that
    # under `python -O`), and loads torch for a tensor type that no view here has (2 s). It works without either.
    if "feast" in sys.modules:
        return
    modules, checker, checked = cast(dict[str, Any], sys.modules), cast(Any, typeguard), typeguard.typechecked
    hides_torch = "torch" not in modules
    checker.typechecked = _unchanged
    if hides_torch:
        modules["torch"] = None
    try:
        importlib.import_module("feast")
    finally:
        checker.typechecked = checked
        if hides_torch:
            del modules["torch"]


def _unchanged(target: Any = None, **_: Any) -> Any:
    """A decorator, with or without arguments, that does nothing."""
    return _unchanged if target is None else target


def apply_repo(store: "feast.FeatureStore", declared: "RepoContents", *, project: str, description: str) -> None:
    """Does what `feast apply` does, which Feast documents as a command alone; but a use case without any object, because its
    declaration does not load, keeps those that are registered: its champion serves with them.
    """
    import feast
    from feast.repo_operations import extract_objects_for_apply_delete  # pyright: ignore[reportUnknownVariableType]

    if not declared.projects:
        declared.projects.append(feast.Project(name=project, description=description))
    objects, absent, _, _ = extract_objects_for_apply_delete(project, store.registry, declared)
    use_cases = {None, *(_use_case(view) for view in declared.feature_views)}
    removed = [one for one in cast(list[Any], absent) if _use_case(one) in use_cases]
    store.apply(cast(list[Any], objects), objects_to_delete=removed, partial=False)


def _use_case(declared: Any) -> str | None:
    return cast(dict[str, str], declared.tags or {}).get("use_case")


def read_repo(repo: Path) -> "RepoContents":
    """The objects that the files of the folder `repo` declare; nothing is applied."""
    from feast.repo_operations import parse_repo

    with _as_working_folder(repo.resolve()):
        return parse_repo(Path.cwd())


def without_times(proto: Any) -> Any:
    """The message without its moments: Feast writes into each object when this process built it."""
    for field, value in proto.ListFields():
        if field.message_type and field.message_type.full_name == "google.protobuf.Timestamp":
            proto.ClearField(field.name)
        elif field.message_type and not field.message_type.GetOptions().map_entry:  # maps are of texts: tags
            for one in value if field.is_repeated else [value]:
                without_times(one)
    return proto


@contextmanager
def _as_working_folder(repo: Path) -> Generator[None]:
    """Feast names the modules of a repo relative to the working folder and imports them from there, as its command does."""
    modules = {path.stem for path in repo.glob("*.py")}
    hidden = {name: sys.modules.pop(name) for name in modules if name in sys.modules}
    importlib.invalidate_caches()
    sys.path.insert(0, str(repo))
    try:
        with chdir(repo):
            yield
    finally:
        sys.path.remove(str(repo))
        for name in modules:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)


def provider_of(store: "feast.FeatureStore") -> "Provider":
    """Used to write online values: the documented `write_to_online_store` drops rows whose features are all null."""
    from feast.infra.provider import get_provider

    return get_provider(store.config)


def registration_of(view: "feast.FeatureView") -> bytes:
    """Changes when the view is registered anew, or with other features."""
    return f"{view.created_timestamp} {cast(Any, view).current_version_number}".encode()


def entity_key_prefix(join_keys: list[str]) -> bytes:
    """The start of the keys of all entities with these join keys, in Feast's Redis store."""
    from feast.infra.key_encoding_utils import serialize_entity_key_prefix

    return serialize_entity_key_prefix(join_keys)


def entity_values(entity_key: bytes) -> dict[str, Any]:
    """The join keys and their values in a stored key of Feast's online stores."""
    from feast.infra.key_encoding_utils import deserialize_entity_key

    key = cast(Any, deserialize_entity_key(entity_key))
    values = [getattr(value, value.WhichOneof("val")) for value in key.entity_values]
    return dict(zip(key.join_keys, values, strict=True))
