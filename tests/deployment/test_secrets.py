"""Secrets reach the cluster encrypted, or from Vault, and never in clear (EXI-ARCH-13)."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pyrage
import pytest
import yaml
from helm_python import HelmRenderError

from tests.app.test_readme import commands
from tests.deployment.rendering import CASES, Case, Object, helm, kustomize, only

SCHEMAS = Path(__file__).parent / "schemas"
#: What an operator writes into a copy of the example.
VALUES = {"REPLACE": "hunter2", "PASSWORD": "swordfish"}


def run(command: str, project: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody types it, at the root of the project, with the sops of the lock."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-c", command],
        cwd=project,
        env={**os.environ, "PATH": path, "SOPS_DISABLE_VERSION_CHECK": "1", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def validate(thing: Object) -> None:
    group, _, version = thing["apiVersion"].partition("/")
    schema = SCHEMAS / f"{thing['kind'].lower()}.{group}-{version}.json"
    jsonschema.Draft7Validator(json.loads(schema.read_text())).validate(thing)


@pytest.fixture
def key() -> pyrage.x25519.Identity:
    """A key pair that is thrown away, in place of the cluster's."""
    return pyrage.x25519.Identity.generate()


@pytest.fixture
def copy(project_of: Callable[[str], Path], tmp_path: Path) -> Path:
    """A project on an external database, to write into."""
    return Path(shutil.copytree(project_of("external"), tmp_path / "project"))


@pytest.fixture
def encrypted(copy: Path, key: pyrage.x25519.Identity) -> Path:
    """The project after its README was followed for its first environment."""
    duplicate, *encryptions = [
        command
        for command in commands(copy / "deploy" / "secrets" / "README.md")
        if command.startswith(("cp ", "sops "))
    ]
    assert len(encryptions) == 2
    assert run(duplicate, copy).returncode == 0
    clear = copy / "deploy" / "secrets" / f"{FIRST}.yaml"
    text = clear.read_text()
    for placeholder, value in VALUES.items():
        text = text.replace(placeholder, value)
    clear.write_text(text)
    for command in encryptions:
        result = run(command, copy, AGE_RECIPIENT=str(key.to_public()))
        assert result.returncode == 0, result.stderr
    return copy


#: The first environment of the project `external`.
FIRST = "12"


def in_chart(project: Path) -> Path:
    return project / "deploy" / "helm" / "secrets" / f"{FIRST}.enc.yaml"


def test_the_operator_reads_what_the_readme_encrypts(
    encrypted: Path, key: pyrage.x25519.Identity
) -> None:
    """Sops itself stands in for the operator, which uses its library."""
    file = in_chart(encrypted)

    decrypted = run(f"sops -d {file}", encrypted, SOPS_AGE_KEY=str(key))

    assert decrypted.returncode == 0, decrypted.stderr
    clear = yaml.safe_load((encrypted / "deploy" / "secrets" / f"{FIRST}.yaml").read_text())
    assert yaml.safe_load(decrypted.stdout) == clear
    assert not [value for value in VALUES.values() if value in file.read_text()]
    stranger = str(pyrage.x25519.Identity.generate())
    assert run(f"sops -d {file}", encrypted, SOPS_AGE_KEY=stranger).returncode != 0


def test_one_file_may_be_for_several_clusters(copy: Path) -> None:
    keys = [pyrage.x25519.Identity.generate() for _ in range(2)]
    recipients = ",".join(str(each.to_public()) for each in keys)
    example = f"deploy/secrets/{FIRST}.example.yaml"

    encrypt = f"sops -e --age {recipients} --encrypted-suffix Templates {example} > both.enc.yaml"
    assert run(encrypt, copy).returncode == 0

    for each in keys:
        assert run("sops -d both.enc.yaml", copy, SOPS_AGE_KEY=str(each)).returncode == 0


def test_the_chart_and_the_overlay_deploy_the_encrypted_file(encrypted: Path) -> None:
    overlay = encrypted / "deploy" / "kustomize" / "overlays" / FIRST / "kustomization.yaml"
    content = yaml.safe_load(overlay.read_text())
    content["resources"].append("secrets.enc.yaml")
    overlay.write_text(yaml.safe_dump(content))

    from_chart = only(helm(encrypted, FIRST), "SopsSecret")

    assert from_chart == yaml.safe_load(in_chart(encrypted).read_text())
    validate(from_chart)
    from_overlay = only(kustomize(encrypted, FIRST), "SopsSecret")
    # Encrypted twice, it is not the same twice; what is not encrypted is.
    assert from_overlay["metadata"] == from_chart["metadata"]
    values = re.findall(r'"(?:uri|AWS_\w+)": "(.*?)"', json.dumps([from_chart, from_overlay]))
    assert len(values) == 6
    assert all(value.startswith("ENC[AES256_GCM,") for value in values)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{clear}", "Encrypt deploy/helm/secrets/12.enc.yaml with sops"),
        ("{encrypted}---\n{clear}", "Encrypt deploy/helm/secrets/12.enc.yaml with sops"),
        ("kind: Secret\nstringData: {{uri: hunter2}}", "it holds a Secret"),
        ("hunter2", "it holds no object"),
    ],
)
def test_the_chart_refuses_what_is_in_clear(content: str, sentence: str, encrypted: Path) -> None:
    clear = (encrypted / "deploy" / "secrets" / f"{FIRST}.yaml").read_text()
    file = in_chart(encrypted)
    file.write_text(content.format(clear=clear, encrypted=file.read_text()))

    with pytest.raises(HelmRenderError, match=re.escape(sentence)) as refused:
        helm(encrypted, FIRST)
    assert "hunter2" not in str(refused.value)


def test_the_chart_refuses_a_value_that_was_put_back_in_clear(encrypted: Path) -> None:
    file = in_chart(encrypted)
    file.write_text(re.sub(r"uri: ENC\[.*\]", "uri: hunter2", file.read_text()))

    with pytest.raises(HelmRenderError, match=r"Encrypt deploy/helm/secrets/12\.enc\.yaml"):
        helm(encrypted, FIRST)


def test_the_chart_refuses_comments_that_sops_made_entries_of(
    copy: Path, key: pyrage.x25519.Identity
) -> None:
    example = copy / "deploy" / "secrets" / f"{FIRST}.example.yaml"
    commented = example.read_text().replace("secretTemplates:", "secretTemplates:\n    # a comment")
    example.write_text(commented)
    encrypt = "sops -e --age {} --encrypted-suffix Templates {} > {}"
    command = encrypt.format(key.to_public(), example, in_chart(copy))
    assert run(command, copy).returncode == 0

    with pytest.raises(HelmRenderError, match="Remove the comments below secretTemplates"):
        helm(copy, FIRST)


def test_the_chart_refuses_another_file_among_its_secrets(encrypted: Path) -> None:
    shutil.copy(encrypted / "deploy" / "secrets" / f"{FIRST}.yaml", in_chart(encrypted).parent)

    with pytest.raises(HelmRenderError, match=r"Move deploy/helm/secrets/12\.yaml out"):
        helm(encrypted, FIRST)


def test_git_ignores_a_clear_copy(encrypted: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=encrypted, check=True)
    seen = run("git status --porcelain --untracked-files=all deploy", encrypted).stdout

    assert f"deploy/secrets/{FIRST}.example.yaml" in seen
    assert f"deploy/helm/secrets/{FIRST}.enc.yaml" in seen
    assert f"deploy/secrets/{FIRST}.yaml" not in seen


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_environment_deploys_a_secret_in_clear(
    case: Case, objects_of: Callable[[Case], list[Object]]
) -> None:
    assert "Secret" not in {thing["kind"] for thing in objects_of(case)}


@pytest.mark.parametrize(
    ("project", "environment", "secrets"),
    [
        ("defaults", "prod", {"dossiers-api-backup"}),
        ("external", "bleu", {"app-0b-backup", "app-0b-database"}),
    ],
)
def test_vault_is_a_value_and_a_component(
    project: str,
    environment: str,
    secrets: set[str],
    project_of: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    source = project_of(project)
    values = {"secrets": {"provider": "vault"}, "backup": {"enabled": True}}
    of_helm = [
        each
        for each in helm(source, environment, values)
        if each["kind"] in ("SopsSecret", "VaultStaticSecret")
    ]
    copied = tmp_path / "project"
    shutil.copytree(source / "deploy", copied / "deploy")
    overlay = copied / "deploy" / "kustomize" / "overlays" / environment / "kustomization.yaml"
    content = yaml.safe_load(overlay.read_text())
    content["components"].append("vault")
    overlay.write_text(yaml.safe_dump(content))
    of_kustomize = [
        each for each in kustomize(copied, environment) if each["kind"] == "VaultStaticSecret"
    ]

    assert {each["metadata"]["name"] for each in of_helm} == secrets
    assert {each["spec"]["destination"]["name"] for each in of_helm} == secrets
    for each in of_helm:
        validate(each)
    by_name = lambda each: each["metadata"]["name"]  # noqa: E731
    assert sorted(of_helm, key=by_name) == sorted(of_kustomize, key=by_name)


def test_secrets_may_be_somebody_elses(encrypted: Path) -> None:
    kinds = {each["kind"] for each in helm(encrypted, FIRST, {"secrets": {"provider": "none"}})}

    assert not kinds & {"SopsSecret", "VaultStaticSecret", "Secret"}
