"""What the scanners may find: the rendered project's scan-exceptions.yaml, and its rules."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

#: The sections of the file; Trivy itself reads the first four.
SECTIONS = (
    *("misconfigurations", "secrets", "licenses", "vulnerabilities"),
    *("debian", "checkov", "hadolint"),
)
#: What nothing excuses. Trivy calls a licence critical that forbids or taints the use of the whole.
REFUSED = {
    ("misconfigurations", "HIGH"),
    ("misconfigurations", "CRITICAL"),
    ("licenses", "CRITICAL"),
    ("debian", "CRITICAL"),
}
LONGEST = timedelta(days=366)


@dataclass(frozen=True)
class Finding:
    """Something that a scanner found.

    Args:
        section: The section of the file in which an exception would stand.
        id: The scanner's name for it: a rule, or a licence.
        where: The file, or the Debian package.
        severity: As the scanner says it; empty where it does not.
        text: What the scanner says about it.
    """

    section: str
    id: str
    where: str
    severity: str = ""
    text: str = ""

    def __str__(self) -> str:
        named = f"{self.id} ({self.severity})" if self.severity else self.id
        return f"{self.section}: {named} in {self.where}: {self.text}"


@dataclass(frozen=True)
class Explanation:
    """Findings that stay, why, and until when. Names are patterns, `*` is any text."""

    section: str
    id: str
    paths: tuple[str, ...]
    statement: str
    expired_at: date | None

    def __str__(self) -> str:
        return f"{self.section}: {self.id}"

    def covers(self, finding: Finding, path: str) -> bool:
        """Say whether this entry is about that finding, by the one of its paths."""
        where = finding.where
        return (
            self.section == finding.section
            and fnmatchcase(finding.id, self.id)
            # As Trivy understands it, `**/` may be nothing.
            and (fnmatchcase(where, path) or fnmatchcase(where, path.removeprefix("**/")))
        )


def read(path: Path) -> list[Explanation]:
    """Read the file of exceptions.

    Raises:
        ValueError: It has a section or an entry that nobody would read.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if unknown := set(content) - set(SECTIONS):
        raise ValueError(f"{path.name}: no scanner reads {', '.join(sorted(unknown))}.")
    entries = []
    for section, items in content.items():
        for item in items:
            if unknown := set(item) - {"id", "paths", "statement", "expired_at"}:
                raise ValueError(
                    f"{path.name}: {section}: {', '.join(sorted(unknown))} is unknown."
                )
            entries.append(
                Explanation(
                    section,
                    item["id"],
                    tuple(item.get("paths", ["*"])),
                    item.get("statement", "").strip(),
                    item.get("expired_at"),
                )
            )
    return entries


def badly_written(entries: Iterable[Explanation], today: date) -> Iterator[str]:
    """Yield a sentence for each entry that says too little, or no longer holds."""
    for entry in entries:
        if not entry.statement:
            yield f"{entry} gives no reason: write a statement."
        if entry.expired_at is None:
            yield f"{entry} never ends: write expired_at."
        elif entry.expired_at <= today:
            yield (
                f"{entry} expired on {entry.expired_at}: mend what it explains, or judge again and "
                "write a new date."
            )
        elif entry.expired_at > today + LONGEST:
            yield f"{entry} ends on {entry.expired_at}, in more than a year: judge again earlier."


def unexplained(findings: Iterable[Finding], entries: Sequence[Explanation]) -> list[str]:
    """Return a sentence for each finding that no entry explains, or that none may."""
    return sorted(
        {
            str(finding)
            for finding in findings
            if (finding.section, finding.severity) in REFUSED
            or not any(entry.covers(finding, path) for entry in entries for path in entry.paths)
        }
    )


def stale(findings: Sequence[Finding], entries: Iterable[Explanation]) -> list[str]:
    """Return a sentence for each entry, and each of its paths, that explains nothing."""
    return [
        f"{entry} explains nothing in {path}: remove it."
        for entry in entries
        for path in entry.paths
        if not any(entry.covers(finding, path) for finding in findings)
    ]
