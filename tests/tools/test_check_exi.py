from pathlib import Path

import pytest
import yaml

from tools.check_exi import REQUIREMENTS, known_identifiers, misspelt

# Split, or this file would fail the check it tests.
EXI = "EXI"


@pytest.fixture(scope="module")
def known(repository: Path) -> set[str]:
    return known_identifiers(repository / REQUIREMENTS)


def test_the_list_has_every_row_of_the_cct_once(repository: Path) -> None:
    rows = yaml.safe_load((repository / REQUIREMENTS).read_text())
    identifiers = [row["id"] for row in rows]
    assert len(identifiers) == len(set(identifiers)) == 55
    assert len({each.rstrip("ab") for each in identifiers}) == 53
    assert {row["level"] for row in rows} == {"P", "I"}


@pytest.mark.parametrize("good", ["-ARCH-12", "-G-3", "-ORG-16a", "-ORG-17b", "-ORG-16", "-DATA-1"])
def test_a_known_identifier_passes(tmp_path: Path, known: set[str], good: str) -> None:
    (tmp_path / "page.md").write_text(f"Health ({EXI}{good}), and {EXI}{good}.\n")
    assert list(misspelt(tmp_path, ["page.md"], known)) == []


@pytest.mark.parametrize(
    "bad", ["-ARCH-99", "-ORG-4", "-ORG-16c", "-ARCH-12a", "-arch-12", "_ARCH_12", "-ARCH12"]
)
def test_an_unknown_one_is_named_with_its_line(tmp_path: Path, known: set[str], bad: str) -> None:
    (tmp_path / "page.md").write_text(f"Fine: {EXI}-ARCH-12\nWrong: {EXI}{bad}.\n")
    (error,) = misspelt(tmp_path, ["page.md", "gone.md"], known)
    assert error.startswith(f"page.md:2: {EXI}{bad} is not a requirement")
