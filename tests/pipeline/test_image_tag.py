"""The image's tag in both chains: whatever the history, however much of it the clone holds."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pipeline.conftest import CI, Script, oldest_python
from tests.render.rendering import IDENTITY, commit, render

IMAGE = "harbor.apps.dso.numerique-interieur.com/dossiers/dossiers-api"
PATHS = ("Dockerfile", ".dockerignore", "requirements.lock", "src", "ci/sbom.py")


def git(directory: Path, *arguments: str, **variables: str) -> str:
    """Run Git as nobody in particular, and return what it printed."""
    return subprocess.run(
        ["git", *arguments],
        cwd=directory,
        env={**IDENTITY, "GIT_CONFIG_NOSYSTEM": "1", **variables},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def tag(
    directory: Path, *arguments: str, code: int = 0, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the script as if it stood in this directory's `ci`."""
    script = Script(CI / "image_tag.py", oldest_python())
    environment = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", **(variables or {})}
    result = script(environment, *arguments, ROOT=PathLiteral(directory), DEEPEN=(2, 3))
    assert result.returncode == code, result.stderr
    return result


class PathLiteral:
    """A path that reads as one in the code that sets the script's constants."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"script.Path({str(self.path)!r})"


# --- Any history --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A commit: whose child it is, when it claims to have been made, and what its files hold."""

    parents: list[int]
    date: int
    source: int
    readme: int


@st.composite
def histories(draw: st.DrawFn) -> list[Change]:
    """Draw histories that branch and merge; clocks go wrong, and changes are taken back."""
    changes: list[Change] = []
    for number in range(draw(st.integers(1, 9))):
        earlier = st.integers(max(0, number - 4), number - 1)
        parents = draw(st.lists(earlier, min_size=1, max_size=3, unique=True)) if number else []
        changes.append(
            Change(
                parents,
                draw(st.integers(1_600_000_000, 1_600_000_009)),
                draw(st.integers(0, 2)),
                draw(st.integers(0, 2)),
            )
        )
    return changes


def write(history: list[Change], directory: Path) -> None:
    """Make a repository that has this history on main."""
    stream = []
    for number, change in enumerate(history, 1):
        stream.append(
            f"commit refs/heads/main\nmark :{number}\n"
            f"committer Test <test@example.org> {change.date} +0000\ndata 1\nx\n"
        )
        for kind, parent in zip(("from", *["merge"] * 9), change.parents, strict=False):
            stream.append(f"{kind} :{parent + 1}\n")
        for name, content in (("src/app", change.source), ("README", change.readme)):
            stream.append(f"M 100644 inline {name}\ndata 1\n{content}\n")
    directory.mkdir()
    git(directory, "init", "--quiet", "--initial-branch=main")
    subprocess.run(
        ["git", "fast-import", "--quiet", "--force"],
        cwd=directory,
        input="".join(stream),
        text=True,
        check=True,
        capture_output=True,
    )
    git(directory, "reset", "--quiet", "--hard")


@settings(max_examples=10, deadline=None)
@given(history=histories(), depth=st.integers(1, 4))
def test_every_clone_of_any_history_gives_the_tag_of_the_same_image(
    tmp_path_factory: pytest.TempPathFactory, history: list[Change], depth: int
) -> None:
    root = tmp_path_factory.mktemp("history")
    write(history, root / "origin")
    address = f"file://{root / 'origin'}"
    git(root, "clone", "--quiet", f"--depth={depth}", address, "shallow")

    found = tag(root / "origin", "--revision").stdout.strip()

    assert tag(root / "shallow", "--revision").stdout.strip() == found
    # The commit's image is that of HEAD, and it is the commit that made it so.
    assert git(root / "origin", "diff", found, "HEAD", "--", *PATHS) == ""
    for parent in git(root / "origin", "rev-list", "--parents", "-1", found).split()[1:]:
        assert git(root / "origin", "diff", parent, found, "--", *PATHS) != ""


# --- Both chains --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered project whose image is many commits old."""
    path = render(template, tmp_path_factory.mktemp("chains") / "project", {"deployment": "both"})
    commit(path)
    git(path, "branch", "--move", "main")
    for number in range(30):
        git(path, "commit", "--quiet", "--allow-empty", "--message", f"Work {number}")
    return path


@pytest.fixture
def origin(project: Path, tmp_path: Path) -> Path:
    """The team's repository on its server."""
    git(tmp_path, "clone", "--quiet", "--bare", str(project), "origin.git")
    return tmp_path / "origin.git"


def checkout(origin: Path, directory: Path, depth: int) -> Path:
    """Check main out as actions/checkout and GitLab's runner do: some commits, detached."""
    directory.mkdir()
    head = git(origin, "rev-parse", "main")
    git(directory, "init", "--quiet")
    git(directory, "remote", "add", "origin", f"file://{origin}")
    refspec = f"+{head}:refs/remotes/origin/main"
    git(directory, "fetch", "--quiet", "--no-tags", f"--depth={depth}", "origin", refspec)
    git(directory, "checkout", "--quiet", "--force", head)
    return directory


def mirror(origin: Path, internal: Path) -> Path:
    """Do what the platform's mirror job does: clone, and push by force."""
    work = internal.with_name("mirror-work")
    git(internal.parent, "clone", "--quiet", str(origin), str(work))
    git(internal.parent, "init", "--quiet", "--bare", str(internal))
    git(work, "push", "--quiet", "--force", "--prune", str(internal), "main")
    return internal


def test_both_chains_agree_and_the_pipelines_own_commit_starts_no_loop(
    origin: Path, tmp_path: Path
) -> None:
    primary = checkout(origin, tmp_path / "primary", depth=1)
    expected = git(origin, "rev-list", "--max-parents=0", "main")[:12]

    said = tag(primary, "--write", "dev", "preprod")
    assert said.stdout == f"{expected}\n"
    changed = git(primary, "diff", "--stat", "--", "deploy").splitlines()
    assert changed[-1].strip() == "4 files changed, 4 insertions(+), 4 deletions(-)"
    git(primary, "commit", "--quiet", "--all", "--message", "Deploy")
    git(primary, "push", "--quiet", "origin", "HEAD:main")

    again = checkout(origin, tmp_path / "again", depth=1)
    assert tag(again, "--write", "dev", "preprod").stdout == f"{expected}\n"
    assert git(again, "status", "--porcelain") == ""

    internal = mirror(origin, tmp_path / "internal.git")
    secondary = checkout(internal, tmp_path / "secondary", depth=20)
    assert tag(secondary).stdout == f"{expected}\n"
    values = yaml.safe_load((secondary / "deploy" / "helm" / "values-dev.yaml").read_text())
    assert values["image"]["tag"] == expected


def test_an_infrastructure_repository_gets_the_tag_of_the_applications(
    origin: Path, template: Path, tmp_path: Path
) -> None:
    answers = {"layout": "split", "this_repository": "infrastructure"}
    infrastructure = render(template, tmp_path / "infrastructure", answers)
    assert not (infrastructure / "ci").exists()
    primary = checkout(origin, tmp_path / "primary", depth=1)
    before = (infrastructure / "deploy" / "helm" / "values-prod.yaml").read_text()

    said = tag(primary, "--write", "prod", "--directory", str(infrastructure / "deploy"))

    after = (infrastructure / "deploy" / "helm" / "values-prod.yaml").read_text()
    assert after == before.replace("not-built-yet", f'"{said.stdout.strip()}"')


def test_an_old_server_that_gives_no_commit_by_its_hash_is_asked_for_its_branches(
    origin: Path, tmp_path: Path
) -> None:
    old = checkout(origin, tmp_path / "old", depth=1)
    newer = checkout(origin, tmp_path / "newer", depth=1)
    git(newer, "commit", "--quiet", "--allow-empty", "--message", "Newer")
    git(newer, "push", "--quiet", "origin", "HEAD:main")
    git(old, "config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    protocol = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "protocol.version",
        "GIT_CONFIG_VALUE_0": "0",
    }
    head = git(old, "rev-parse", "HEAD")
    with pytest.raises(subprocess.CalledProcessError):
        git(old, "fetch", "--deepen=1", "origin", head, **protocol)

    expected = git(origin, "rev-list", "--max-parents=0", "main")[:12]
    assert tag(old, variables=protocol).stdout == f"{expected}\n"


def test_what_a_person_has_configured_changes_nothing(origin: Path, tmp_path: Path) -> None:
    primary = checkout(origin, tmp_path / "primary", depth=1)
    expected = tag(primary).stdout
    settings_ = tmp_path / "gitconfig"
    settings_.write_text(
        "[log]\n follow = true\n showSignature = true\n[color]\n ui = always\n"
        "[core]\n abbrev = 40\n[status]\n showUntrackedFiles = no\n branch = true\n short = true\n"
    )
    assert tag(primary, variables={"GIT_CONFIG_GLOBAL": str(settings_)}).stdout == expected


def test_of_a_submodule_only_the_recorded_commit_counts(origin: Path, tmp_path: Path) -> None:
    primary = checkout(origin, tmp_path / "primary", depth=1)
    tags = set()
    for number in ("1", "2"):
        link = f"160000,{number * 40},src/part"
        git(primary, "update-index", "--add", "--cacheinfo", link)
        git(primary, "commit", "--quiet", "--message", "Part")
        (primary / "src" / "part").mkdir(exist_ok=True)
        tags.add(tag(primary).stdout)
    assert len(tags) == 2
    assert tag(primary).stdout.strip() == git(primary, "rev-parse", "HEAD")[:12]


def test_a_directory_of_somebody_else_is_explained(origin: Path, tmp_path: Path) -> None:
    primary = checkout(origin, tmp_path / "primary", depth=1)
    if os.geteuid() == 0:
        os.chown(primary, 12345, 12345)
        os.chown(primary / ".git", 12345, 12345)
        variables = {}
    else:
        variables = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    said = tag(primary, code=1, variables=variables).stderr
    assert f"git config --global --add safe.directory '{primary}'" in said


# --- Tags that look like numbers ----------------------------------------------------------------


@pytest.fixture
def numbers(project: Path, tmp_path: Path) -> Path:
    """The deployment files, with a tag that YAML would read as a number were it not quoted."""
    git(tmp_path, "clone", "--quiet", str(project), "copy")
    deploy = tmp_path / "copy" / "deploy"
    for value in ("123456789012", "12345678e901"):
        code = (
            f"import sys; sys.path.insert(0, {str(CI)!r}); import image_tag as script; "
            f"script.write({value!r}, ['prod'], {PathLiteral(deploy)!r})"
        )
        subprocess.run([oldest_python(), "-c", code], check=True, timeout=60)
    return deploy


def test_kustomize_and_helm_take_it_for_the_text_that_it_is(numbers: Path) -> None:
    kubectl = Path(sys.executable).with_name("kubectl")
    built = subprocess.run(
        [kubectl, "kustomize", numbers / "kustomize" / "overlays" / "prod"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert f"image: {IMAGE}:12345678e901" in built.stdout, built.stderr
    values = yaml.safe_load((numbers / "helm" / "values-prod.yaml").read_text())
    assert json.dumps(values["image"]) == '{"tag": "12345678e901"}'
