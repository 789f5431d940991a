"""The answers that tests render: every choice, and every pair of choices, at least once.

The choices come from copier.yml, so a new one is rendered without anybody thinking of it. To them
come the families that no choice question shows: what people write as free text, how long names may
be, and which environments they have.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml
from allpairspy import AllPairs

LONGEST_RELEASE_NAME = 41

FREE_TEXT = ("name", "description", "owning_team")

TEXTS = {
    "plain": "Permits of the river board",
    "accents_and_quotes": "# L'\"été\" d'Angoulême \\ `à` <b>*vol_é*</b> & [x](y) | $HOME",
    "braces": "{{ 7191*7193 }} {% raw %} {# remark #} ${{ secrets.X }}",
    "emoji": "- 👩🏽‍💻 1️⃣ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 dossiers",
    "right_to_left": "مِلَفّات المواطنين ותיקים",
    # Too wide for an assignment on one line, narrow enough for ruff to wrap it in parentheses.
    "as_wide_as_a_line": "wide " * 18 + "wide",
    "longest": "é" * 200,
}

ENVIRONMENTS = {
    "usual": {"dev": "dev", "preprod": "preprod", "prod": "prod"},
    "one": {"production1": "prod"},
    "two_with_one_label": {"z2": "dev", "a1": "dev"},
    "eight": {
        "recette": "qualif",
        "dev1": "dev",
        "dev2": "dev",
        "ecole": "formation",
        "essai": "test",
        "preprod": "preprod",
        "bleu": "prod",
        "vert": "prod",
    },
}


def choice_questions(copier_yml: Path) -> dict[str, list[str]]:
    """The values that each choice question of `copier_yml` offers, in its order."""
    questions = yaml.safe_load(copier_yml.read_text())
    return {
        question: [
            choice["value"] if isinstance(choice, dict) else choice
            for choice in (
                details["choices"].values()
                if isinstance(details["choices"], dict)
                else details["choices"]
            )
        ]
        for question, details in questions.items()
        if isinstance(details, dict) and "choices" in details
    }


PARAMETERS = {
    **choice_questions(Path(__file__).resolve().parents[2] / "copier.yml"),
    "text": list(TEXTS),
    "names": ["default", "shortest", "longest"],
    "environments": list(ENVIRONMENTS),
}


@dataclass(frozen=True)
class Combination:
    """One value of each parameter."""

    number: int
    values: dict[str, str]

    def __str__(self) -> str:
        """Name the combination in a test report."""
        return f"{self.number:02}-{self.values['text']}-{self.values['licence']}"

    @property
    def has_code(self) -> bool:
        """Whether it renders the application, not the deployment files alone."""
        return (self.values["layout"], self.values["this_repository"]) != (
            "split",
            "infrastructure",
        )

    def with_code(self) -> "Combination":
        """The same answers, for the repository that holds the application."""
        return replace(self, values=self.values | {"this_repository": "application"})

    @property
    def texts(self) -> dict[str, str]:
        """The free-text answers: each text takes its turn in each question."""
        names = list(TEXTS)
        first = names.index(self.values["text"])
        return {
            question: TEXTS[names[(first + turn) % len(names)]]
            for turn, question in enumerate(FREE_TEXT)
        }

    @property
    def answers(self) -> dict[str, Any]:
        """What to give Copier as data."""
        environments = ENVIRONMENTS[self.values["environments"]]
        choices = {
            question: value
            for question, value in self.values.items()
            if question not in ("text", "names", "environments")
        }
        if self.values["layout"] == "monorepo":
            del choices["this_repository"]  # not asked, and so not kept
        names = _names(self.values["names"], self.values["layout"], max(map(len, environments)))
        return {**self.texts, **names, **choices, "environments": environments}


def _names(family: str, layout: str, environment: int) -> dict[str, str]:
    if family == "default":
        return {}
    if family == "shortest":
        names = {"project": "p1", "repository": "0b", "package": "c2"}
        return names | {"infrastructure_repository": "9z"} if layout == "split" else names
    project = "1234567890abcdefghij"
    deployed = "0a-1b-2c-3d-4e-5f-67"[: LONGEST_RELEASE_NAME - len(project) - environment]
    deployed = deployed[:-1] + "z"
    names = {
        "project": project,
        "repository": deployed,
        "package": "a_package_name_of_thirty_chars",
        "contact": "o_" + "a" * 60 + "+1@" + "b" * 60 + "." + "c" * 63 + "." + "d" * 60 + ".fr",
        "public_host": "0" * 51 + "." + "a-" * 31 + "b." + "c" * 63 + "." + "d" * 61,
    }
    if layout == "split":
        names |= {"repository": "a-repository-of-20ch", "infrastructure_repository": deployed}
    return names


def pairs(values: dict[str, str]) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Every pair of (parameter, value) that a combination shows."""
    yield from combinations(values.items(), 2)


def pairwise() -> list[Combination]:
    """A small set of combinations that shows every pair of values."""
    return [
        Combination(number, dict(zip(PARAMETERS, row, strict=True)))
        for number, row in enumerate(AllPairs(list(PARAMETERS.values())))
    ]


def smallest_cover() -> list[Combination]:
    """The fewest combinations that show every value: as many as the longest parameter has."""
    return [
        Combination(
            number,
            {parameter: values[number % len(values)] for parameter, values in PARAMETERS.items()},
        )
        for number in range(max(map(len, PARAMETERS.values())))
    ]
