"""What each question refuses, with which sentence, and how far its limits reach.

docs/reference/questions.md quotes the same sentences: the last tests hold the two together.
"""

import json
import keyword
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.render.rendering import render

ONE_LINE = "Write one line of 1 to {} characters."
BLANK = "Remove the blank at the beginning or at the end."
LINE_BREAK = "Write it on one line: remove the line break."
INVISIBLE = (
    "Remove the invisible character U+{} at position {}: it can make text read as something else."
)
CONTACT = (
    "Write an e-mail address such as team@example.org: letters, digits and . _ + - before the @, "
    "a domain name after it."
)
PROJECT = "Write 2 to 20 lower-case letters and digits, nothing else."
REPOSITORY = (
    "Write 2 to 20 lower-case letters, digits and single hyphens, with a letter or digit at both "
    "ends."
)
RESERVED = "Choose another name: the platform keeps {} for itself."
PACKAGE = (
    "Write 2 to 30 lower-case letters, digits and single underscores, beginning with a letter."
)
TAKEN = (
    "Choose another name, such as {0}_app: Python or a library of the application already uses {0}."
)
CROWDED = (
    "Shorten project or repository by 1, or choose split: together they leave no room for an "
    "environment's name."
)
SAME = "Give it another name than the application's repository."
MAPPING = "Write one to eight environments as {name: label}, such as {dev: dev, prod: prod}."
QUOTES = "Put the environment {} between quotes: YAML does not read it as text."
RENAME = "Rename the environment {}: 2 to 11 lower-case letters and digits, nothing else."
LABEL = "Give the environment {} one of the labels dev, formation, qualif, test, preprod or prod."
TOO_LONG = (
    "The environment {} is {} too long: shorten it, project or {}, because {} may have 41 "
    "characters together."
)
HOST = (
    "Write a DNS name such as dossiers.example.org: lower-case letters, digits, dots and hyphens, "
    "at most 51 characters before the first dot, 63 between dots and 241 in all, no scheme, no "
    "port, no path."
)
COMPUTED = "Leave it out of your answers, it is computed."


@dataclass(frozen=True)
class Refused:
    """An answer, the sentence that refuses it, and the other answers that it needs."""

    question: str
    answer: Any
    sentence: str
    given: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Name the case in a test report."""
        return ascii(f"{self.question}={self.answer!r}")[1:60]


SPLIT = {"layout": "split"}
TWENTY = "abcdefghijklmnopqrst"

REFUSED = [
    Refused("name", "", ONE_LINE.format(200)),
    Refused("name", "   ", ONE_LINE.format(200)),
    Refused("name", " Dossiers", BLANK),
    Refused("name", "Dossiers\u00a0", BLANK),
    Refused("name", "Dossiers\nde la ville", LINE_BREAK),
    Refused("name", "Dossiers\r", LINE_BREAK),
    Refused("name", "x" * 201, "Remove 1 of its 201 characters: 200 fit."),
    Refused("name", "Doss\u202eiers", INVISIBLE.format("202E", 5)),
    Refused("description", "", ONE_LINE.format(500)),
    Refused("description", "x" * 503, "Remove 3 of its 503 characters: 500 fit."),
    Refused("owning_team", "", ONE_LINE.format(200)),
    Refused("owning_team", "x" * 202, "Remove 2 of its 202 characters: 200 fit."),
    *(
        Refused("contact", answer, CONTACT)
        for answer in (
            "", "nobody", "@example.org", "a@b", "a b@example.org", "a@example.org\n",
            "a..b@example.org", "a@-example.org", 'a"@example.org', "é@example.org",
            f"{'a' * 65}@example.org", f"a@{'b.' * 126}fr", 5,
        )
    ),
    *(
        Refused("project", answer, PROJECT)
        for answer in ("", "a", TWENTY + "u", "Dossiers", "dos-siers", "été", "ab\n", "{{ 7 }}", 5)
    ),
    *(
        Refused("repository", answer, REPOSITORY)
        for answer in ("", "a", TWENTY + "u", "-ab", "ab-", "a--b", "Ab", "a_b", "a.b", "ab\n")
    ),
    Refused("infrastructure_repository", "a--b", REPOSITORY, SPLIT),
    *(
        Refused("repository", answer, RESERVED.format(answer))
        for answer in ("mirror", "infra-apps", "infra-observability", "files", "wikis")
    ),
    Refused("infrastructure_repository", "infra-apps", RESERVED.format("infra-apps"), SPLIT),
    Refused("infrastructure_repository", "dossiers-api", SAME, SPLIT),
    *(
        Refused("package", answer, PACKAGE)
        for answer in ("", "a", "a" * 31, "1a", "_a", "a_", "a__b", "A", "a-b", "a.b", "é", "ab\n")
    ),
    *(
        Refused("package", answer, TAKEN.format(answer))
        for answer in (
            "json", "class", "match", "list", "distutils", "fastapi", "sqlalchemy",
            "alembic", "pydantic", "pytest", "tests", "migrations",
        )
    ),
    Refused("layout", "monorepo", CROWDED, {"project": TWENTY, "repository": TWENTY}),
    Refused("layout", "both", "'both' is not in ['monorepo', 'split']"),
    Refused(
        "this_repository", "both", "'both' is not in ['application', 'infrastructure']", SPLIT
    ),
    *(
        Refused("environments", answer, MAPPING)
        for answer in (
            None, 5, "dev", [], ["dev"], {}, [{"dev": "dev"}],
            {f"dev{number}": "dev" for number in range(9)},
        )
    ),
    Refused("environments", "{on: dev}", QUOTES.format("True")),
    Refused("environments", {12: "dev"}, QUOTES.format("12")),
    *(
        Refused("environments", {name: "dev"}, RENAME.format(json.dumps(name, ensure_ascii=False)))
        for name in ("d", "production12", "Dev", "pre-prod", "été", "a b", "", "dev\n")
    ),
    *(
        Refused("environments", {"integration": label}, LABEL.format("integration"))
        for label in ("integration", "", "Dev", None, 1, ["dev"], {"dev": "dev"})
    ),
    Refused(
        "environments",
        {"dev": "dev", "production": "prod"},
        TOO_LONG.format(
            "production", 4, "repository", "dossiersdelaville + production + dossiers-ville-api"
        ),
        {"project": "dossiersdelaville", "repository": "dossiers-ville-api"},
    ),
    Refused(
        "environments",
        {"dev": "dev"},
        TOO_LONG.format("dev", 2, "infrastructure_repository", f"{TWENTY} + dev + {TWENTY}"),
        {**SPLIT, "project": TWENTY, "infrastructure_repository": TWENTY},
    ),
    Refused("criticality", "huge", "'huge' is not in ['high', 'medium', 'low']"),
    Refused("database", "mysql", "'mysql' is not in ['cloudnativepg', 'external']"),
    Refused("authentication", "basic", "'basic' is not in ['oidc', 'none']"),
    Refused("primary_ci", "jenkins", "'jenkins' is not in ['github', 'gitlab', 'none']"),
    Refused("deployment", "ansible", "'ansible' is not in ['helm', 'kustomize', 'both']"),
    *(
        Refused("public_host", answer, HOST)
        for answer in (
            "", "https://example.org", "example.org:443", "example.org/api", "Example.org",
            "exämple.org", "a_b.example.org", "-a.example.org", "a-.example.org", "a..b",
            "example.org.", "10.0.0.1", "a" * 52 + ".org", "a." + "b" * 64 + ".org",
            "a." * 120 + "fr", "example.org\n", 5,
        )
    ),
    Refused(
        "licence",
        "GPL",
        "'GPL' is not in ['EUPL-1.2', 'Apache-2.0', 'MIT', 'AGPL-3.0-or-later', 'proprietary']",
    ),
    *(
        Refused(name, "x", COMPUTED)
        for name in ("reserved_modules", "deployed_repository", "name_as_python", "name_as_json",
                     "owning_team_as_markdown", "licence_expression", "resource_name",
                     "database_secret", "has_code", "has_deployment", "hosts")
    ),
]  # fmt: skip

ACCEPTED: list[dict[str, Any]] = [
    {"name": "x"},
    {"name": "é" * 200, "description": "😀" * 500, "owning_team": "ب" * 200},
    {"name": "\"\\'`{{ 7*7 }}{% raw %}{#", "description": "# - <script>", "owning_team": "- a: b"},
    {"name": "👩‍💻 ‌ שלום", "description": "« a\u00a0! »", "owning_team": "{{ project }}"},
    {"name": 5},
    {"contact": "a@b.fr"},
    {"contact": f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 58}.fr"},
    {"contact": "Ann.O_B+x-1@sous.example.org"},
    {"project": "a1", "repository": "0b", "package": "c2"},
    {"project": TWENTY, "repository": "a-b-c", "package": "a_" * 14 + "bc"},
    {"repository": TWENTY, "project": "ab"},
    {"layout": "split", "repository": TWENTY, "infrastructure_repository": "mirrors"},
    {"environments": {"ab": "prod"}},
    {"environments": {"abcdefghij1": "test"}, "repository": TWENTY, "project": "abcdefghij"},
    {"environments": {"ab": "dev"}, "repository": TWENTY, "project": TWENTY[1:]},
    {"environments": {f"dev{number}": "dev" for number in range(8)}},
    {"public_host": "localhost"},
    {"public_host": "0" * 51 + ".a-b." + "c" * 63 + ".fr"},
    {"public_host": "a." * 119 + "abc"},
]


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_bad_answer_is_refused_with_its_sentence(
    case: Refused, questionnaire: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=case.question) as refusal:
        render(questionnaire, tmp_path / "out", {case.question: case.answer, **case.given})
    assert str(refusal.value) in (
        f"Validation error for question '{case.question}': {case.sentence}",
        f"Invalid choice for '{case.question}': {case.sentence}",
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("answers", ACCEPTED, ids=lambda answers: ascii(answers)[:60])
def test_a_limit_itself_is_accepted(
    answers: dict[str, Any], questionnaire: Path, tmp_path: Path
) -> None:
    project = render(questionnaire, tmp_path / "out", answers)
    stored = yaml.safe_load((project / ".copier-answers.yml").read_text())
    expected = {
        name: str(answer) if isinstance(answer, int) else answer for name, answer in answers.items()
    }
    assert {name: stored[name] for name in answers} == expected


@pytest.mark.parametrize("answer", [["a"], {"a": "b"}, None], ids=str)
def test_a_text_that_is_no_text_is_refused_by_copier_itself(
    answer: object, questionnaire: Path, tmp_path: Path
) -> None:
    with pytest.raises((ValueError, TypeError), match=r"Could not convert|Invalid answer"):
        render(questionnaire, tmp_path / "out", {"name": answer})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "computed"),
    [
        ({"project": "permis"}, {"repository": "permis-api", "package": "permis_api"}),
        (
            {"project": TWENTY, "repository": TWENTY[1:], "environments": {"ab": "dev"}},
            {"layout": "monorepo"},
        ),
        ({"repository": "2026-api"}, {"package": "app_2026_api"}),
        ({"repository": "json"}, {"package": "json_app", "public_host": "json.example.org"}),
        (SPLIT, {"infrastructure_repository": "dossiers-api-infra"}),
        ({**SPLIT, "repository": "a-infra"}, {"infrastructure_repository": "a-infra-deploy"}),
        (
            {"project": TWENTY, "repository": "ab-cdef-ghijklmnopqr"},
            {"layout": "split", "infrastructure_repository": "ab-cdef-infra"},
        ),
    ],
    ids=str,
)
def test_a_default_follows_the_answers_before_it(
    given: dict[str, Any], computed: dict[str, str], questionnaire: Path, tmp_path: Path
) -> None:
    project = render(questionnaire, tmp_path / "out", given)
    stored = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert {name: stored[name] for name in computed} == computed


def test_an_infrastructure_repository_is_forgotten_in_a_monorepo(
    questionnaire: Path, tmp_path: Path
) -> None:
    project = render(questionnaire, tmp_path / "out", {"infrastructure_repository": "elsewhere"})
    assert "infrastructure_repository" not in (project / ".copier-answers.yml").read_text()
    probe = json.loads((project / "probe.json").read_text())
    assert probe["deployed_repository"] == "dossiers-api"


def test_no_answer_is_ever_rendered_as_a_template(questionnaire: Path, tmp_path: Path) -> None:
    text = "{{ 7*7 }} {{ package }} {% if %}"
    answers = {"name": text, "description": text, "owning_team": text}
    project = render(questionnaire, tmp_path / "out", answers)
    stored = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert {name: stored[name] for name in answers} == answers
    probe = json.loads((project / "probe.json").read_text())
    assert (probe["name"], probe["name_as_python"]) == (text, f'"{text}"')


@pytest.fixture(scope="module")
def reserved_modules(repository: Path) -> set[str]:
    listed = (repository / "includes" / "reserved_modules.txt").read_text()
    return set(re.sub(r"\{#.*?#\}", "", listed, flags=re.DOTALL).split())


def test_every_name_of_python_is_reserved(reserved_modules: set[str]) -> None:
    names = {*keyword.kwlist, *keyword.softkwlist, *sys.stdlib_module_names}
    assert {name for name in names if re.fullmatch("[a-z][a-z0-9_]+", name)} <= reserved_modules


def test_every_locked_dependency_is_reserved(repository: Path, reserved_modules: set[str]) -> None:
    # Where a package is not imported under its own name.
    imported = {
        "googleapis_common_protos": "google",
        "opentelemetry_api": "opentelemetry",
        "protobuf": "google",
        "pyjwt": "jwt",
        "python_dotenv": "dotenv",
        "pyyaml": "yaml",
    }
    locks = list((repository / "template").glob("requirements*.lock"))
    assert locks
    for lock in locks:
        locked = re.findall(r"^([A-Za-z0-9._-]+)(?:\[.*\])?==", lock.read_text(), re.MULTILINE)
        names = {re.sub(r"[.-]", "_", name.lower()) for name in locked}
        modules = {imported.get(name, name) for name in names}
        modules = {re.sub("^opentelemetry_.*", "opentelemetry", name) for name in modules}
        assert locked
        assert modules <= reserved_modules


# --- docs/reference/questions.md ----------------------------------------------------------------


@pytest.fixture(scope="module")
def sections(repository: Path) -> dict[str, str]:
    """The text under each heading of the reference."""
    text = (repository / "docs" / "reference" / "questions.md").read_text()
    return {
        heading: body.split("\n## ")[0]
        for heading, body in re.findall(
            r"^## `(\w+)`\n(.*?)(?=^## `|\Z)", text, re.MULTILINE | re.DOTALL
        )
    }


@pytest.fixture(scope="module")
def questions(repository: Path) -> dict[str, Any]:
    """The questions of copier.yml, without the computed answers."""
    config = yaml.safe_load((repository / "copier.yml").read_text())
    return {
        name: details
        for name, details in config.items()
        if not name.startswith("_") and details.get("when") is not False
    }


def test_the_reference_describes_every_question_in_order(
    sections: dict[str, str], questions: dict[str, Any]
) -> None:
    assert list(sections) == list(questions)


def test_the_reference_quotes_every_sentence_and_no_other(
    sections: dict[str, str], questions: dict[str, Any]
) -> None:
    for question in questions:
        written = {case.sentence for case in REFUSED if case.question == question}
        quoted = set(re.findall(r"^> (.+)$", sections[question], re.MULTILINE))
        assert quoted <= written
        # One example stands for all the sentences that differ in what they name.
        assert {_pattern(sentence) for sentence in quoted} == set(map(_pattern, written))


def _pattern(sentence: str) -> str:
    """`sentence` without what depends on the answer."""
    for varying in (
        r"U\+\w+ at position \d+", r"(?<=the platform keeps )\S+", r"(?<=such as )\w+(?=_app)",
        r"(?<=already uses )\w+",
        r"(?<=environment )(\S+|\".*\")(?=:| one| is| between)", r"\d+ too long",
        r"(?<=project or )\w+", r"(?<=because ).+(?= may)", r"Remove \d+ of its \d+",
    ):  # fmt: skip
        sentence = re.sub(varying, "…", sentence)
    return sentence


def test_the_reference_names_every_default_and_choice(
    sections: dict[str, str], questions: dict[str, Any], questionnaire: Path, tmp_path: Path
) -> None:
    project = render(questionnaire, tmp_path / "mono", {})
    split = render(questionnaire, tmp_path / "split", SPLIT)
    defaults = yaml.safe_load((split / ".copier-answers.yml").read_text())
    defaults |= yaml.safe_load((project / ".copier-answers.yml").read_text())
    for question, details in questions.items():
        shown = re.search(r"^\| Default \| `(.+?)`", sections[question], re.MULTILINE)
        assert shown, question
        assert yaml.safe_load(shown[1]) == defaults[question]
        if "choices" in details:
            values = details["choices"]
            if isinstance(values, dict):
                values = [v["value"] if isinstance(v, dict) else v for v in values.values()]
            assert re.findall(r"^\| `([^`]+)` \|", sections[question], re.MULTILINE) == values
