"""Feast is imported lightly, and nothing of that is left behind."""

import json
import subprocess
import sys

CODE = """
import json, sys
from mlops_assets.ports.light_feast import import_feast
import typeguard
checked = typeguard.typechecked
import_feast()
import feast
loaded = "torch" in sys.modules
import torch
print(json.dumps({"torch with feast": loaded, "torch later": torch.ones(2).sum().item(), "checked": typeguard.typechecked is checked}))
"""


def test_feast_comes_without_torch_which_can_be_imported_later() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", CODE], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"torch with feast": False, "torch later": 2.0, "checked": True}
