"""Loads the function that does the work of a declared word, when it is needed."""

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any, TypeVar

from mlops_assets.spec.implemented import Implemented
from mlops_assets.spec.spec import IllegalDeclaration

Result = TypeVar("Result")


def function_of(word: Implemented) -> Callable[..., Any]:
    """Raises IllegalDeclaration where its module or the function is missing."""
    where = type(word).__name__
    try:
        module = import_module(word.module)
    except ImportError as error:
        problem = f"{word.module} cannot be imported: {error}. Correct MODULE, or install it."
        raise IllegalDeclaration(f"{where} · {problem}") from error
    if not callable(function := getattr(module, word.FUNCTION, None)):
        raise IllegalDeclaration(f"{where} · {word.module} has no function {word.FUNCTION}. Add it ({word.PAGE}).")
    return function


def call(word: Implemented, returns: type[Result], *arguments: Any, **options: Any) -> Result:
    """What the function of `word` returns. Raises IllegalDeclaration as `function_of`, and where that is of another type."""
    result = function_of(word)(word, *arguments, **options)
    if not isinstance(result, returns):
        problem = f"{word.module}.{word.FUNCTION} returned {type(result).__name__}; legal: {returns.__name__}"
        raise IllegalDeclaration(f"{type(word).__name__} · {problem}. Return one ({word.PAGE}).")
    return result


def find_missing_functions(field: str, words: Iterable[Implemented]) -> Iterator[str]:
    """One sentence per word; imports only modules outside this package."""
    package = f"{__name__.partition('.')[0]}."
    for index, word in enumerate(words):
        if not word.MODULE.startswith(package):
            try:
                function_of(word)
            except IllegalDeclaration as error:
                yield f"{field}[{index}] · {error}"
