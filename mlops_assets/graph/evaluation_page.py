"""The newest evaluation of a use case as Markdown with its pictures as files: what a pull request shows of a candidate."""

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.home import Home
from mlops_assets.foundation.terminal import one_line
from mlops_assets.graph.history import readable_event_log
from mlops_assets.graph.kernel.asset_metadata import WARNING

PAGE, TABLES = "evaluation.md", ("gates", "metrics", "comparison", "slices")
PICTURE = re.compile(r"!\[([^\]]+)\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)")


class NotEvaluated(LookupError):
    """No candidate has been evaluated, or the event log cannot be read."""


def write_evaluation(use_case: str, home: Home, folder: Path) -> Path:
    """The page, next to which are its pictures. Raises NotEvaluated."""
    metadata = _read(use_case, home)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = metadata.get("pictures")
    drawn = PICTURE.findall(pictures.md_str or "") if isinstance(pictures, dg.MarkdownMetadataValue) else []
    for name, png in drawn:
        (folder / f"{name}.png").write_bytes(base64.b64decode(png))
    heads = [f"### {use_case}: version {metadata['model_version'].value}", str(metadata["verdict"].value)]
    if WARNING in metadata:
        heads.append(f"Warning: {metadata[WARNING].value}")
    tables = ("\n".join(_table(metadata[name])) for name in TABLES if name in metadata)
    page = folder / PAGE
    page.write_text("\n\n".join([*heads, *tables, *(f"![{name}]({name}.png)" for name, _ in drawn)]) + "\n")
    return page


def _read(use_case: str, home: Home) -> Mapping[str, Any]:
    with readable_event_log(home) as (instance, problems):
        key = dg.AssetKey(names.stage(use_case, "evaluation"))
        event = instance.get_latest_materialization_event(key) if instance else None
        if event is None or event.asset_materialization is None:
            problem = "; ".join(problems) or "no candidate has been evaluated"
            raise NotEvaluated(f'{use_case} · {problem}. Train one: `mlops train {use_case} --because "…"`.')
        return event.asset_materialization.metadata


def _table(table: dg.TableMetadataValue) -> Iterator[str]:
    heads = [column.name for column in table.schema.columns]  # a stored record has its values in the order of their names
    for row in (heads, ["---"] * len(heads), *([record.data[head] for head in heads] for record in table.records)):
        yield f"| {' | '.join(one_line(cell).replace('|', chr(92) + '|') for cell in row)} |"
