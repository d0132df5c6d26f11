"""The gate of docs/gates.md, copied to files verbatim, judges candidates, and an edit of it is a change of the evaluation."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from mlops_assets.evaluation.judge import judge
from mlops_assets.foundation.implementation import find_missing_functions
from mlops_assets.spec.gate import BeatsChampion, Gate, NoLeak, gate_names
from mlops_assets.spec.spec import IllegalDeclaration
from tests.cli.loans import LOANS
from tests.documentation.pages import package_of, run_file
from tests.evaluation.gates.conftest import make_trial


@pytest.fixture
def acme(tmp_path: Path) -> Iterator[Path]:
    with package_of("docs/gates.md", tmp_path) as package:
        yield package


def documented(acme: Path) -> tuple[Gate, ...]:
    words = {"BeatsChampion": BeatsChampion, "NoLeak": NoLeak, "Workload": import_module("acme.workload").Workload}
    return run_file(acme / "use_case.py", words)["gates"]


@pytest.mark.parametrize(("probability", "passes"), [(0.1, True), (0.9, False)])
def test_the_documented_gate_judges_and_advises(acme: Path, probability: float, passes: bool) -> None:
    trial = make_trial(rows=40)
    *_, gate = documented(acme)
    row = np.where(np.arange(40) % 4, probability, 1 - probability)
    (verdict,) = judge((gate,), trial.but(probability=row).case())
    assert (verdict.gate, verdict.passed, verdict.measured) == ("workload", passes, 0.25 if passes else 0.75)
    assert verdict.message.endswith("plan for more calls.") is not passes


def test_it_is_declared_checked_and_part_of_the_code_version_of_the_evaluation(acme: Path) -> None:
    use_case = LOANS.but(gates=documented(acme))
    assert gate_names(use_case.gates)[-1] == "workload" and not [*find_missing_functions("gates", use_case.gates)]
    before, code = use_case.fingerprint("evaluation"), acme / "workload.py"
    code.write_text(code.read_text() + "# another line\n")
    assert use_case.fingerprint("evaluation") != before


def test_a_gate_without_its_function_or_module_is_named(acme: Path) -> None:
    (acme / "silent.py").write_text("from mlops_assets.spec.gate import Gate\n\n\nclass Silent(Gate):\n    NAME = 'silent'\n")
    silent = import_module("acme.silent").Silent
    lost = type("Lost", (silent,), {"__module__": "acme.lost"})
    assert [*find_missing_functions("gates", (NoLeak(), silent(), lost()))] == [
        "gates[1] · Silent · acme.silent has no function judge. Add it (docs/gates.md).",
        "gates[2] · Lost · acme.lost cannot be imported: No module named 'acme.lost'. Correct MODULE, or install it.",
    ]


def test_a_result_of_another_type_is_named(acme: Path) -> None:
    (acme / "loose.py").write_text(
        "from mlops_assets.spec.gate import Gate\n\n\nclass Loose(Gate): ...\n\n\ndef judge(gate, case):\n    return True\n"
    )
    message = r"^Loose · acme\.loose\.judge returned bool; legal: Measurement\. Return one \(docs/gates\.md\)\.$"
    with pytest.raises(IllegalDeclaration, match=message):
        judge((import_module("acme.loose").Loose(),), make_trial(rows=40).case())
