"""The first causes of investigations against the injected faults, for docs/investigation.md with --write."""

import sys
from pathlib import Path

from tests.decision_quality.test_investigations import SEED, confusion, right, table
from tests.monitoring.investigation.faults import FAULTS

PAGE = Path(__file__).parents[2] / "docs" / "investigation.md"
BEGIN, END = "<!-- made by bench_investigation.py -->\n", "<!-- end -->"
MIN_RIGHT = 0.9


def main() -> int:
    counts = confusion(SEED)
    text = f"The first cause is right for {right(counts):.0%} of {len(FAULTS)} faults.\n\n{table(counts)}\n"
    print(text)
    if "--write" in sys.argv:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}{text}{END}{rest.partition(END)[2]}")
    return int(right(counts) < MIN_RIGHT)


if __name__ == "__main__":
    sys.exit(main())
