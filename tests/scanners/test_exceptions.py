"""The rules of the exceptions file, on small examples."""

from datetime import date
from pathlib import Path

import pytest
import yaml

from tests.scanners.exceptions import (
    Explanation,
    Finding,
    badly_written,
    read,
    stale,
    unexplained,
)

TODAY = date(2030, 6, 1)
IN_TIME = date(2030, 12, 1)
FOUND = Finding("misconfigurations", "DS-0026", "Dockerfile", "LOW", "Add HEALTHCHECK.")


def explanation(
    paths: tuple[str, ...] = ("*",),
    statement: str = "Kubernetes has probes.",
    expired_at: date | None = IN_TIME,
    section: str = "misconfigurations",
) -> Explanation:
    return Explanation(section, "DS-0026", paths, statement, expired_at)


def test_a_finding_that_nothing_explains_is_a_sentence() -> None:
    assert unexplained([FOUND], []) == [
        "misconfigurations: DS-0026 (LOW) in Dockerfile: Add HEALTHCHECK."
    ]


@pytest.mark.parametrize("path", ["*", "Dockerfile", "**/Dockerfile", "Docker*"])
def test_an_entry_explains_findings_in_its_paths(path: str) -> None:
    assert unexplained([FOUND], [explanation((path,))]) == []


@pytest.mark.parametrize(
    "other", [explanation(("other/*",)), explanation(section="checkov"), explanation(())]
)
def test_an_entry_explains_nothing_else(other: Explanation) -> None:
    assert len(unexplained([FOUND], [other])) == 1


@pytest.mark.parametrize("severity", ["HIGH", "CRITICAL"])
def test_nothing_explains_a_grave_misconfiguration(severity: str) -> None:
    grave = Finding("misconfigurations", "DS-0026", "Dockerfile", severity, "Text.")

    assert len(unexplained([grave], [explanation()])) == 1


def test_nothing_explains_a_licence_that_taints_the_whole() -> None:
    tainting = Finding("debian", "AGPL-3.0-only", "libc6", "CRITICAL", "forbidden")

    assert unexplained([tainting], [Explanation("debian", "*", ("libc6",), "Why.", IN_TIME)])


def test_an_entry_that_is_well_written_needs_no_word() -> None:
    assert list(badly_written([explanation()], TODAY)) == []


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (
            explanation(statement=""),
            "misconfigurations: DS-0026 gives no reason: write a statement.",
        ),
        (
            explanation(expired_at=None),
            "misconfigurations: DS-0026 never ends: write expired_at.",
        ),
        (
            explanation(expired_at=TODAY),
            (
                "misconfigurations: DS-0026 expired on 2030-06-01: mend what it explains, or judge "
                "again and write a new date."
            ),
        ),
        (
            explanation(expired_at=date(2031, 6, 3)),
            (
                "misconfigurations: DS-0026 ends on 2031-06-03, in more than a year: judge again "
                "earlier."
            ),
        ),
    ],
    ids=["no reason", "no end", "expired", "too long"],
)
def test_an_entry_that_says_too_little_is_named(entry: Explanation, sentence: str) -> None:
    assert list(badly_written([entry], TODAY)) == [sentence]


def test_a_path_that_explains_nothing_is_stale() -> None:
    entry = explanation(("Dockerfile", "gone/Dockerfile"))

    assert stale([FOUND], [entry]) == [
        "misconfigurations: DS-0026 explains nothing in gone/Dockerfile: remove it."
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"licences": []}, "no scanner reads licences"),
        ({"secrets": [{"id": "x", "reason": "y"}]}, "secrets: reason is unknown"),
    ],
)
def test_what_nobody_would_read_is_refused(tmp_path: Path, content: object, sentence: str) -> None:
    file = tmp_path / "scan-exceptions.yaml"
    file.write_text(yaml.safe_dump(content))

    with pytest.raises(ValueError, match=sentence):
        read(file)
