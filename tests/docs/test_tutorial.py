"""The tutorial's change does what the tutorial says."""

import json
import subprocess
from pathlib import Path

from tests.app.conftest import Project
from tests.render.rendering import render

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorial" / "first-service.md"
PLAIN = '    subject: Line = Field(description="What it is about.")\n'
EXAMPLE = "EXAMPLE_INPUT: dict"


def test_the_change_reaches_the_contract_and_breaks_the_tests_that_it_should(
    template: Path, application_venv: Path, tmp_path: Path
) -> None:
    project = Project(
        render(template, tmp_path / "permits", {"name": "Permits", "project": "permits"}),
        application_venv,
    )
    schema = project.path / "src" / "permits_api" / "dossiers" / "schema.py"
    code = schema.read_text(encoding="utf-8")
    lines = TUTORIAL.read_text(encoding="utf-8").splitlines()
    (type_,) = [line.strip() for line in lines if "Subject = Annotated" in line]
    (field,) = [line for line in lines if "subject: Subject" in line]
    assert code.count(PLAIN) == code.count(EXAMPLE) == 1

    code = code.replace(PLAIN, f"{field}\n").replace(EXAMPLE, f"{type_}\n\n{EXAMPLE}")
    schema.write_text(code, encoding="utf-8")
    project.make("docs")

    contract = json.loads((project.path / "openapi.json").read_text(encoding="utf-8"))
    subject = contract["components"]["schemas"]["DossierInput"]["properties"]["subject"]
    assert subject["minLength"] == 10
    # One whose tests use shorter subjects, and one that compares the contract.
    preconditions, documentation = "tests/test_preconditions.py", "tests/test_documentation.py"
    report = subprocess.run(
        [
            project.venv / "bin" / "python",
            "-m",
            "pytest",
            "-k",
            "not postgresql",
            preconditions,
            documentation,
        ],
        cwd=project.path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    ).stdout
    assert f"FAILED {preconditions}" in report
    assert f"FAILED {documentation}" not in report
