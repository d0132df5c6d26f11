"""Feast's registry file, written so that a reader gets the old registry or the new one."""

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feast.infra.registry.file import FileRegistryStore

from mlops_assets.foundation.atomic_file import replace_file


class AtomicRegistryStore(FileRegistryStore):
    """Feast's own empties the file before it writes: a reader at that moment finds no view, or some of them."""

    def __init__(self, registry_config: Any, repo_path: Any) -> None:
        super().__init__(registry_config, repo_path)
        self.path = Path(registry_config.path)

    def update_registry_proto(self, registry_proto: Any) -> None:
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.FromDatetime(datetime.now(UTC))
        replace_file(self.path, registry_proto.SerializeToString())
