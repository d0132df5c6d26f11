"""Code versions: what an asset is made from, of the declaration and of the code that it names."""

# A function counts by its own source and that of whatever it uses of its own package, without comments and docstrings: another
# function of its module may change. Fields that are left out do not count, so that a release can add one.

import ast
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

from mlops_assets.spec.contract import Contract
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.implemented import Implemented, module_source
from mlops_assets.spec.source import Files
from mlops_assets.spec.spec import Spec

# The first characters of a version. One with others is of a release that built it otherwise, and says nothing about a change.
FORM = "a-"
UNCHANGING = "1"  # of assets that are made from nothing that is declared
PLATFORM = __name__.partition(".")[0]
PROSE = {"description", "descriptions", "example", "pii", "identifies"}  # fields that change no value of a table
PLAIN = (str, int, float, bool, bytes, type(None), date, timedelta)
ANY = "*"  # all names of a module
SIDE_EFFECTS = ""  # the name of statements without one


def code_version(*parts: object) -> str:
    return FORM + hashlib.sha256(text_of(parts).encode()).hexdigest()[:12]


def is_outdated(recorded: str | None, code: str | None) -> bool:
    """Whether what was made by the recorded version is to be made again by the present one."""
    return bool(recorded and code and recorded != code and recorded.startswith(FORM) == code.startswith(FORM))


def raw_code(source: Files, contract: Contract) -> str:
    columns = [(column.name, column.header, column.renamed_from, column.since) for column in contract.columns]
    return code_version(source.form, source.max_bytes, columns, contract.dropped)


def validated_code(source: Files, contract: Contract) -> str:
    return code_version(source.form, contract)


def feature_code(view: FeatureView) -> str:
    return code_version(view.tables, view.entity, view.transform, view.lookback)


def text_of(value: object) -> str:
    """The same in every process."""
    if isinstance(value, Spec):
        return _text_of_spec(value)
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(text_of, cast(Sequence[object], value)))})"
    if isinstance(value, (Mapping, set, frozenset)):
        items = cast(Any, value.items() if isinstance(value, Mapping) else value)
        return text_of(sorted(items, key=repr))
    if isinstance(value, PLAIN):
        return repr(value)
    return "\n".join(_texts_of_function(value)) if callable(value) else type(value).__qualname__


def _text_of_spec(value: Spec) -> str:
    declared = [
        f"{name}={text_of(getattr(value, name))}"
        for name, field in type(value).model_fields.items()
        if name not in PROSE and getattr(value, name) != field.get_default(call_default_factory=True)
    ]
    module = value.module if isinstance(value, Implemented) else PLATFORM
    own = "" if _root(module) == PLATFORM else "\n".join(map(_text, ast.parse(module_source(module)).body))
    return f"{type(value).__name__}({', '.join(declared)}){own}"


def _texts_of_function(function: Callable[..., Any]) -> Iterator[str]:
    """The statements that define it and all that it uses of its package, and the values that it has captured."""
    if isinstance(function, partial):
        yield text_of((function.func, function.args, function.keywords))
        return
    function = inspect.unwrap(function)
    named = function if hasattr(function, "__qualname__") else type(function)
    module, name = named.__module__, named.__qualname__.partition(".")[0]
    own = _reach(module, ANY if name.startswith("<") else name, _root(module), visited={})
    yield from own or [f"{module}.{named.__qualname__}"]
    for cell in getattr(function, "__closure__", None) or ():
        yield text_of(cell.cell_contents)


def _root(module: str) -> str:
    """The package whose modules count: the top one; within the platform, a use case has a package of its own."""
    return module.rpartition(".")[0] if module.startswith(f"{PLATFORM}.use_cases.") else module.partition(".")[0]


def _reach(module: str, name: str, root: str, visited: dict[tuple[str, str], None]) -> list[str]:
    """The texts of the statements that bind a name of a module, and of those that they use, in the order of their first use."""
    if (module, name) in visited or not f"{module}.".startswith(f"{root}.") or root in sys.stdlib_module_names:
        return []
    visited[module, name] = None
    names, texts = _names(_source(module)), list[str]()
    for statement in dict.fromkeys(one for bound in (names if name == ANY else [name]) for one in names.get(bound, ())):
        texts.append(_text(statement))
        for target, imported in _imported(statement, module, name):
            texts += _reach(target, imported, root, visited)
        used = [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]
        for one in dict.fromkeys([SIDE_EFFECTS, ANY, *used]):
            texts += _reach(module, one, root, visited) if one in names else []
    return texts


def _imported(statement: ast.stmt, module: str, name: str) -> Iterator[tuple[str, str]]:
    """The modules, and the names in them, that a statement imports; of an import by itself, those that `name` refers to."""
    for node in ast.walk(statement):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            wanted = [one for one in node.names if node is not statement or name in (ANY, _local(one))]
            if isinstance(node, ast.Import):
                yield from ((one.name, ANY) for one in wanted)
            else:
                source = _imported_from(node, module)
                yield from (pair for one in wanted for pair in ((source, one.name), (f"{source}.{one.name}", ANY)))


def _imported_from(node: ast.ImportFrom, module: str) -> str:
    if not node.level:
        return node.module or ""
    is_package = Path(getattr(sys.modules.get(module), "__file__", None) or "").name == "__init__.py"
    parts = module.split(".")
    return ".".join([*parts[: len(parts) - node.level + is_package], *filter(None, [node.module])])


def _source(module: str) -> bytes:
    """As it is on the disk; empty for a module without a file."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file).read_bytes() if file and file.endswith(".py") else module_source(module)


@cache
def _names(source: bytes) -> Mapping[str, Sequence[ast.stmt]]:
    """The top-level statements that bind each name."""
    names: dict[str, list[ast.stmt]] = {}
    for statement in ast.parse(source).body:
        for name in dict.fromkeys(_bound(statement)):
            names.setdefault(name, []).append(statement)
    return names


def _bound(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        yield from map(_local, statement.names)
    elif isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
    elif not _is_prose(statement):
        yield SIDE_EFFECTS


def _local(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def _is_prose(node: ast.AST) -> bool:
    """A docstring, or what only type checkers read."""
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return is_text or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")


class _WithoutProse(ast.NodeTransformer):
    def visit(self, node: ast.AST) -> Any:
        return None if _is_prose(node) else self.generic_visit(node)


@cache
def _text(statement: ast.stmt) -> str:
    return ast.unparse(_WithoutProse().visit(ast.parse(ast.unparse(statement))))
