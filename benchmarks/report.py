"""How figures are said: a table and its aims, on a terminal and in Markdown."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

BEGIN = "<!-- benchmarks: begin -->"
END = "<!-- benchmarks: end -->"


@dataclass(frozen=True)
class Aim:
    """A figure and the limit that it is to respect."""

    what: str
    value: float
    #: "≥" or "≤"
    sense: str
    limit: float
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the figure is on the right side of the limit."""
        return self.value >= self.limit if self.sense == "≥" else self.value <= self.limit

    def __str__(self) -> str:
        verdict = "met" if self.met else "missed"
        figure = f"{self.value:.2f}" if self.limit < 10 else f"{self.value:.0f}"
        aim = f"{self.sense} {self.limit:g}{self.unit}"
        return f"{self.what}: {figure}{self.unit} (aim {aim}: {verdict})"


@dataclass(frozen=True)
class Table:
    """The figures of one measure."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    aims: Sequence[Aim] = ()
    #: What a reader must know to read the figures.
    remarks: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """Answer the table, its aims and its remarks in Markdown; a terminal shows it as well."""
        cells = [self.columns, *self.rows]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.columns))]

        def line(row: Sequence[str]) -> str:
            first, *others = zip(row, widths, strict=True)
            return (
                " | ".join(
                    [f"| {first[0]:<{first[1]}}", *(f"{text:>{width}}" for text, width in others)]
                ).rstrip()
                + " |"
            )

        rule = line([f"{'-' * (width - 1)}:" for width in widths]).replace(":", "-", 1)
        lines = [f"### {self.title}", "", line(self.columns), rule, *map(line, self.rows), ""]
        lines += [f"- **{aim}**" for aim in self.aims]
        lines += [f"- {remark}" for remark in self.remarks]
        return "\n".join(lines) + "\n"


def machine(postgresql: str) -> str:
    """Answer on what the figures were taken, and so with what not to compare them."""
    return (
        f"Python {platform.python_version()}, PostgreSQL {postgresql}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores."
    )


def replace_between_markers(page: Path, text: str) -> None:
    """Put `text` between the page's two markers.

    Raises:
        ValueError: the page has no such markers.
    """
    head, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks {BEGIN} or {END}: put them where the tables belong.")
    page.write_text(f"{head}{begin}\n\n{text.strip()}\n\n{end}{tail}", encoding="utf-8")
