"""The table of degradations has a row for each fault that a test brings about, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("test_dependency_faults.py", "test_migrations_together.py")


def test_each_row_names_a_test_and_each_test_has_a_row() -> None:
    text = (ROOT / "docs" / "reference" / "degradation.md").read_text(encoding="utf-8")
    tests = "".join(
        (ROOT / "tests" / "containers" / module).read_text(encoding="utf-8") for module in MODULES
    )

    assert set(re.findall(r"`(test_\w+)` \|$", text, re.MULTILINE)) == set(
        re.findall(r"^def (test_\w+)", tests, re.MULTILINE)
    )
