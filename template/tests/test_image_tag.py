"""The image's tag: the same from the same commit, in every clone."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import image_tag

ROOT = Path(__file__).resolve().parents[1]


class Repository:
    """A Git repository in which a test makes history."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
        return subprocess.run(
            ["git", *identity, *arguments],
            cwd=self.path,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def commit(self, **files: str | None) -> str:
        """Write files (None removes one; __ stands for a slash), and return the commit's tag."""
        for name, content in files.items():
            path = self.path / name.replace("__", "/")
            if content is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Change")
        return self.git("rev-parse", "HEAD")[:12]

    @property
    def tag(self) -> str:
        return image_tag.find_commit(root=self.path)[:12]


@pytest.fixture(autouse=True)
def nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Git as on a fresh machine."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A repository with an image and one commit; the script takes it for its own."""
    path = tmp_path / "repository"
    path.mkdir()
    repository = Repository(path)
    repository.git("init", "--quiet", "--initial-branch=main")
    repository.commit(Dockerfile="FROM x\n", src__app="1\n", README="Read\n")
    monkeypatch.setattr(image_tag, "ROOT", path)
    return repository


def clone(repository: Repository, *options: str) -> Repository:
    """Clone as a CI does: over a protocol, because a plain path would copy all of the history."""
    path = repository.path.with_name("clone")
    subprocess.run(
        ["git", "clone", "--quiet", *options, f"file://{repository.path}", path], check=True
    )
    return Repository(path)


# --- Which commit -------------------------------------------------------------------------------


def test_what_docker_may_see_is_what_makes_the_tag() -> None:
    """A file that Git knows and .dockerignore lets through is in the image: it belongs to PATHS."""
    seen = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    ignored = {line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}

    assert set(image_tag.PATHS) == (seen - ignored) | {"Dockerfile", ".dockerignore"}


def test_only_what_goes_into_the_image_changes_the_tag(repository: Repository) -> None:
    tag = repository.git("rev-parse", "HEAD")[:12]
    repository.commit(README="Read this\n", deploy__helm__values="tag: x\n")
    assert repository.tag == tag

    for changed in ("Dockerfile", "src/app", "requirements.lock", ".dockerignore"):
        assert repository.tag != repository.commit(**{changed: f"{changed} changed\n"})
        assert repository.tag == repository.git("rev-parse", "HEAD")[:12]


def test_to_rename_or_to_remove_a_file_changes_the_tag(repository: Repository) -> None:
    repository.git("mv", "src/app", "src/service")
    assert repository.commit() == repository.tag
    assert repository.commit(src__service=None, src__other="1\n") == repository.tag


def test_a_merge_keeps_the_tag_of_the_side_whose_image_it_has(repository: Repository) -> None:
    repository.git("switch", "--quiet", "--create", "feature")
    tag = repository.commit(src__app="2\n")
    repository.git("switch", "--quiet", "main")
    repository.commit(README="Read this\n")

    repository.git("merge", "--quiet", "--no-ff", "feature", "--message", "Merge")

    assert repository.tag == tag


def test_a_merge_of_two_changes_is_an_image_of_its_own(repository: Repository) -> None:
    repository.git("switch", "--quiet", "--create", "feature")
    repository.commit(src__app="2\n")
    repository.git("switch", "--quiet", "main")
    repository.commit(src__other="2\n")

    repository.git("merge", "--quiet", "--no-ff", "feature", "--message", "Merge")

    assert repository.tag == repository.git("rev-parse", "HEAD")[:12]


def test_a_tag_or_a_detached_head_is_a_commit_like_any_other(repository: Repository) -> None:
    tag = repository.tag
    repository.git("tag", "--annotate", "v1", "--message", "One")
    repository.commit(src__app="2\n")
    repository.git("checkout", "--quiet", "v1")
    assert repository.tag == tag


def test_history_that_was_changed_here_alone_does_not_count(repository: Repository) -> None:
    first = repository.git("rev-parse", "HEAD")
    tag = repository.commit(src__app="2\n")
    last = repository.commit(README="Read this\n")
    repository.git("replace", "--graft", last, first)
    (repository.path / ".git" / "info" / "grafts").write_text(
        f"{repository.git('rev-parse', last)}"
    )
    assert repository.tag == tag


def test_a_project_below_the_root_of_its_repository_has_the_tag_of_its_own_files(
    repository: Repository,
) -> None:
    tag = repository.commit(service__src__app="1\n")
    repository.commit(src__app="2\n")
    assert image_tag.find_commit(root=repository.path / "service")[:12] == tag


# --- Shallow clones -----------------------------------------------------------------------------


@pytest.mark.parametrize("older", [3, 12])
def test_a_shallow_clone_fetches_what_it_lacks(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, older: int
) -> None:
    monkeypatch.setattr(image_tag, "DEEPEN", (2, 4))
    tag = repository.tag
    for _ in range(older):
        repository.git("commit", "--quiet", "--allow-empty", "--message", "Nothing")

    assert clone(repository, "--depth=1").tag == tag


def test_a_clone_that_reaches_back_far_enough_asks_nobody(repository: Repository) -> None:
    tag = repository.commit(src__app="2\n")
    repository.commit(README="Read this\n")
    shallow = clone(repository, "--depth=3")
    shutil.rmtree(repository.path)
    assert shallow.tag == tag


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("remote", "remove", "origin"), "no remote to fetch the rest from"),
        (("remote", "set-url", "origin", "file://me:s3cret@/nowhere"), "(git fetch: "),
        (("remote", "rename", "origin", "elsewhere"), ""),
    ],
)
def test_a_clone_that_cannot_be_completed_says_so(
    repository: Repository,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    reason: str,
) -> None:
    tag = repository.tag
    repository.commit(README="Read this\n")
    shallow = clone(repository, "--depth=1")
    shallow.git(*command)
    monkeypatch.setattr(image_tag, "ROOT", shallow.path)

    code = image_tag.main([])

    output, errors = capsys.readouterr()
    if not reason:
        assert (code, output) == (0, f"{tag}\n")
        return
    assert code == 1
    assert errors.startswith("image_tag.py: This clone does not reach back")
    assert "fetch-depth: 0" in errors
    assert reason in errors
    assert "s3cret" not in errors


def test_a_shallow_remote_is_no_help(repository: Repository) -> None:
    repository.commit(README="Read this\n")
    shallow = clone(repository, "--depth=1")
    shallower = shallow.path.with_name("shallower")
    subprocess.run(
        ["git", "clone", "-q", "--depth=1", f"file://{shallow.path}", shallower], check=True
    )
    with pytest.raises(image_tag.TagError, match="its remote has no more history either"):
        image_tag.find_commit(root=shallower)


# --- What it prints -----------------------------------------------------------------------------


def test_it_prints_twelve_digits_or_the_whole_hash(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = repository.git("rev-parse", "HEAD")
    assert image_tag.main([]) == 0
    assert image_tag.main(["--revision"]) == 0
    assert capsys.readouterr().out == f"{commit[:12]}\n{commit}\n"


def test_what_is_not_committed_has_no_tag_unless_that_is_said(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository.path / "README").write_text("This is not in the image.\n")
    assert image_tag.main([]) == 0
    tag = capsys.readouterr().out.strip()
    for name in ("a", "b", "c", "d"):
        (repository.path / "src" / name).write_text("new\n")

    assert image_tag.main([]) == 1
    assert "no commit does: src/a, src/b, src/c and 1 more." in capsys.readouterr().err
    assert image_tag.main(["--dirty"]) == 0
    assert capsys.readouterr().out == f"{tag}-dirty\n"

    (repository.path / "src" / "d").unlink()
    assert image_tag.main([]) == 1
    assert "no commit does: src/a, src/b, src/c. Commit it" in capsys.readouterr().err


def test_what_git_refuses_is_explained(
    repository: Repository, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "true")
    assert image_tag.main([]) == 1
    assert f"--add safe.directory '{repository.path}'" in capsys.readouterr().err
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")

    repository.git("rm", "-r", "--quiet", *("src", "Dockerfile"))
    repository.commit()
    assert image_tag.main([]) == 1
    assert "Nothing of the image is committed: Dockerfile, " in capsys.readouterr().err

    shutil.rmtree(repository.path / ".git")
    assert image_tag.main([]) == 1
    assert f"{repository.path} is no Git repository" in capsys.readouterr().err

    repository.git("init", "--quiet")
    assert image_tag.main([]) == 1
    assert "Nothing is committed yet" in capsys.readouterr().err

    monkeypatch.setenv("PATH", "/nowhere")
    assert image_tag.main([]) == 1
    assert "git is missing" in capsys.readouterr().err


def test_a_git_that_hangs_is_given_up(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_tag, "FETCH_SECONDS", 0)
    with pytest.raises(image_tag.TagError, match="git rev-parse took longer than 0 s"):
        assert repository.tag


# --- Deployment files ---------------------------------------------------------------------------

VALUES = (
    "# The environment dev.\n"
    "environment:\n  tag: no\n"
    "image:\n"
    "  # tag: neither\n"
    "  tag: not-built-yet   # the pipeline's\r\n"
    "  pullPolicy: IfNotPresent\n"
    "other:\n  tag: no\n"
)
OVERLAY = (
    "resources:\n  - ../../base\n\n"
    "images:\n"
    "- name: registry.example.org/dossiers/dossiers-api\n"
    "  newTag: 'not-built-yet'\n"
    "replicas:\n  - name: dossiers-api\n"
)
TWO = (
    "images:  # both\n"
    "  - newTag: one\n"
    "    name: registry.example.org/one\n"
    "  - newName: registry.example.org/mirror/two\n"
    '    name: "registry.example.org/two"\n'
    "    newTag:"
)


@pytest.fixture
def deploy(repository: Repository) -> Path:
    """Deployment files of three environments: by Helm, by Kustomize, by both."""
    files = {
        "kustomize/overlays/test/kustomization.yaml": OVERLAY,
        "helm/values-dev.yaml": VALUES,
        "helm/values-prod.yaml": VALUES,
        "kustomize/overlays/prod/kustomization.yaml": OVERLAY,
    }
    deploy = repository.path / "deploy"
    for name, content in files.items():
        path = deploy / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())
    return deploy


def test_the_tag_is_written_and_not_another_byte(
    repository: Repository, deploy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tag = repository.tag

    assert image_tag.main(["--write", "prod"]) == 0

    output, errors = capsys.readouterr()
    assert output == f"{tag}\n"
    assert errors.count(f": {tag}\n") == 2
    written = VALUES.replace(" not-built-yet", f' "{tag}"').encode()
    assert (deploy / "helm" / "values-prod.yaml").read_bytes() == written
    assert (deploy / "helm" / "values-dev.yaml").read_bytes() == VALUES.encode()
    overlay = deploy / "kustomize" / "overlays" / "prod" / "kustomization.yaml"
    assert overlay.read_bytes() == OVERLAY.replace("'not-built-yet'", f'"{tag}"').encode()


def test_the_commit_that_writes_it_needs_no_other(
    repository: Repository, deploy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So the pipeline's own commit starts no loop."""
    assert deploy.is_dir()
    assert image_tag.main(["--write", "dev", "prod"]) == 0
    repository.commit()
    capsys.readouterr()

    assert image_tag.main(["--write", "dev", "prod"]) == 0

    assert capsys.readouterr().err == ""
    assert repository.git("status", "--porcelain") == ""


def test_an_infrastructure_repository_of_its_own_is_written_to(
    repository: Repository, deploy: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    deploy.rename(elsewhere)
    assert image_tag.main(["--write", "dev", "test", "--directory", str(elsewhere)]) == 0
    assert repository.tag in (elsewhere / "helm" / "values-dev.yaml").read_text()


@pytest.mark.parametrize("image", ["one", "two"])
def test_of_several_images_one_is_named(deploy: Path, image: str) -> None:
    path = deploy / "kustomize" / "overlays" / "prod" / "kustomization.yaml"
    path.write_text(TWO)
    with pytest.raises(image_tag.TagError, match=r"once, not 2 times; name .* with --image\."):
        image_tag.write("abc", ["prod"], deploy)

    image_tag.write("abc", ["prod"], deploy, f"registry.example.org/{image}")

    line = {"one": ("newTag: one", 'newTag: "abc"'), "two": ("newTag:", 'newTag: "abc"')}[image]
    before, after = TWO.rsplit(line[0], 1)
    assert path.read_text() == f"{before}{line[1]}{after}"


def test_an_image_that_is_not_there_is_said(deploy: Path) -> None:
    path = deploy / "kustomize" / "overlays" / "prod" / "kustomization.yaml"
    path.write_text("images:\n  - newTag: x\n  - name: a\n    newTag: y\n")
    with pytest.raises(image_tag.TagError, match="once for b, not 0 times"):
        image_tag.write("abc", ["prod"], deploy, "b")


def test_the_last_entry_may_have_no_name(deploy: Path) -> None:
    path = deploy / "kustomize" / "overlays" / "prod" / "kustomization.yaml"
    path.write_text("images:\n  - newTag: x")
    with pytest.raises(image_tag.TagError, match="once for b, not 0 times"):
        image_tag.write("abc", ["prod"], deploy, "b")


def test_an_environment_that_is_not_there_is_said_and_nothing_is_written(
    deploy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert image_tag.main(["--write", "dev", "qualif"]) == 1
    assert "There is no environment qualif in" in (errors := capsys.readouterr().err)
    assert "it has dev, prod, test." in errors
    assert (deploy / "helm" / "values-dev.yaml").read_bytes() == VALUES.encode()

    assert image_tag.main(["--write", "../dev", "--directory", "/nowhere"]) == 1
    assert "it has none." in capsys.readouterr().err


def test_a_file_that_is_not_as_expected_is_said_and_nothing_is_written(
    deploy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (deploy / "helm" / "values-prod.yaml").write_text("image: {tag: x}\n")
    assert image_tag.main(["--write", "dev", "prod"]) == 1
    assert "values-prod.yaml: the block image should set tag once" in capsys.readouterr().err
    assert (deploy / "helm" / "values-dev.yaml").read_bytes() == VALUES.encode()


def test_only_a_commits_tag_is_written() -> None:
    with pytest.raises(SystemExit):
        image_tag.main(["--write", "dev", "--dirty"])
