#!/usr/bin/env python3
"""Print the image's tag: the short hash of the last commit that touched what goes into the image.

Whoever computes it, on whatever machine, from the same commit, gets the same tag. So the team's own
pipeline can write it into the deployment files before the platform's pipeline builds the image, and a
commit that changes deployment files alone asks for no new image.

The hash always has 12 digits: Git's own abbreviation is longer in a clone that holds more. Merges
that took over one side's files as they were are looked through; so a branch that was merged keeps the
tag it had. In a shallow clone this fetches as much history as it needs, and fails where it cannot.

  image_tag.py                       in a pipeline
  image_tag.py --dirty               on your machine, with changes that are not committed
  image_tag.py --write dev preprod   writes it into these environments' deployment files

exit codes:
  0  printed, and written where that was asked
  1  it cannot be known here, or a file is not as expected; nothing was written
  2  the command line is wrong
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

# What the Dockerfile takes from this repository, and what decides that. tests/test_image_tag.py
# compares it with .dockerignore.
PATHS = ("Dockerfile", ".dockerignore", "requirements.lock", "src", "ci/sbom.py")
ROOT = Path(__file__).resolve().parents[1]
DIGITS = 12
# Commits fetched at a time, then all of them.
DEEPEN = (100, 1000)
FETCH_SECONDS = 300
# What Git says, and what helps.
EXPLANATIONS = {
    "dubious ownership": "Git does not trust this directory, because it belongs to another user. Say "
    "that it may: git config --global --add safe.directory '{root}'",
    "not a git repository": "{root} is no Git repository: the tag is made from its history.",
    "Needed a single revision": "Nothing is committed yet: the tag is made from the last commit.",
}


class TagError(Exception):
    """Why there is no tag, in a sentence for the person."""


def git(*arguments: str, root: Path) -> str:
    """Run a Git command that depends on nothing but the repository, and return what it prints.

    Args:
        arguments: The command and its arguments.
        root: Where to run it.

    Raises:
        TagError: It failed; the message is Git's own, or says what to do.
    """
    environment = {
        **os.environ,
        "LC_ALL": "C",
        # Local changes to history would give each clone another tag.
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_GRAFT_FILE": os.devnull,
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
    }
    try:
        result = subprocess.run(  # noqa: S603  (a fixed list, no shell)
            ["git", *arguments],  # noqa: S607  (the one on PATH, on purpose)
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=FETCH_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise TagError("git is missing: install it, or take a job's image that has it.") from None
    except subprocess.TimeoutExpired:
        raise TagError(f"git {arguments[0]} took longer than {FETCH_SECONDS} s.") from None
    if result.returncode == 0:
        return result.stdout
    for words, sentence in EXPLANATIONS.items():
        if words in result.stderr:
            raise TagError(sentence.format(root=root))
    # The address of a remote may hold a password.
    said = re.sub(r"//[^@/\s]*@", "//", " ".join(result.stderr.split()))
    raise TagError(f"git {arguments[0]}: {said or f'exit code {result.returncode}'}")


def find_commit(paths: tuple[str, ...] = PATHS, root: Path = ROOT) -> str:
    """Return the whole hash of the last commit that touched these paths.

    The history is walked as `git log -- <paths>` does: from a merge that has the same files as one of
    its parents to the first such parent. That is one way through the history, whatever the dates, so
    every clone that holds it finds the same commit, and that commit's files are those of HEAD.

    Args:
        paths: Files and directories, relative to `root`.
        root: A directory of the repository.

    Raises:
        TagError: There is no such commit, or the clone does not reach back to it.
    """
    head = git("rev-parse", "--verify", "HEAD^{commit}", root=root).strip()
    if not git("ls-tree", "--name-only", head, "--", *paths, root=root):
        raise TagError(f"Nothing of the image is committed: {', '.join(paths)}.")
    for depth in (0, *DEEPEN, None):
        if depth != 0:
            _fetch(head, depth, root)
        commit = git("rev-list", "--max-count=1", head, "--", *paths, root=root).strip()
        if not _is_cut(commit, root):
            return commit
    raise TagError(_too_shallow("its remote has no more history either"))


def _is_cut(commit: str, root: Path) -> bool:
    """Tell whether the clone does not hold the parents of a commit that has some.

    Git then takes all its files for new. The commit itself says what its parents are; rev-list says
    which of them the clone knows.
    """
    head = git("cat-file", "commit", commit, root=root).partition("\n\n")[0]
    known = git("rev-list", "--parents", "--max-count=1", commit, root=root).split()
    return "\nparent " in head and len(known) == 1


def _fetch(head: str, depth: int | None, root: Path) -> None:
    remotes = git("remote", root=root).split()
    if not remotes:
        raise TagError(_too_shallow("it has no remote to fetch the rest from"))
    remote = "origin" if "origin" in remotes else remotes[0]
    more = "--unshallow" if depth is None else f"--deepen={depth}"
    command = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", more, remote)
    try:
        git(*command, head, root=root)
    except TagError:
        # An old server does not give out a commit by its hash, but has it on a branch.
        try:
            git(*command, root=root)
        except TagError as error:
            raise TagError(_too_shallow(str(error))) from None


def _too_shallow(reason: str) -> str:
    return (
        "This clone does not reach back to the last change of the image, and its history could not be "
        "fetched. Clone all of it: fetch-depth: 0 in actions/checkout, GIT_DEPTH: 0 in GitLab CI. "
        f"({reason})"
    )


def suffix(*, allowed: bool, paths: tuple[str, ...] = PATHS, root: Path = ROOT) -> str:
    """Return what the tag needs where files differ from the commit: "-dirty", else nothing.

    Of a submodule only the commit that is recorded counts, not what lies in its directory.

    Args:
        allowed: Whether files may differ.
        paths: Files and directories, relative to `root`.
        root: A directory of the repository.

    Raises:
        TagError: They differ and may not.
    """
    changed = git(
        *("status", "--porcelain", "--untracked-files=all", "--ignore-submodules=dirty"),
        *("--", *paths),
        root=root,
    ).splitlines()
    if changed and not allowed:
        shown = ", ".join(line[3:] for line in changed[:3])
        raise TagError(
            f"The image would hold what no commit does: {shown}"
            f"{f' and {len(changed) - 3} more' if len(changed) > 3 else ''}. Commit it, or say --dirty."
        )
    return "-dirty" if changed else ""


def write(tag: str, environments: list[str], directory: Path, image: str = "") -> list[Path]:
    """Write the tag into deployment files; nothing else in them changes, not a byte.

    Args:
        tag: The image's tag.
        environments: Names, as in the files' names.
        directory: Where helm/ and kustomize/ are.
        image: The image's name in the Kustomize overlays, where they set the tags of several.

    Returns:
        The files that had another tag.

    Raises:
        TagError: A file is missing or not as expected; then none was written.
    """
    contents = {}
    for environment in environments:
        helm = directory / "helm" / f"values-{environment}.yaml"
        kustomize = directory / "kustomize" / "overlays" / environment / "kustomization.yaml"
        if not re.fullmatch("[a-z0-9-]+", environment) or not (helm.exists() or kustomize.exists()):
            known = {path.stem[len("values-") :] for path in directory.glob("helm/values-*.yaml")}
            known |= {path.parent.name for path in directory.glob("kustomize/overlays/*/*.yaml")}
            raise TagError(
                f"There is no environment {environment} in {directory}: it has "
                f"{', '.join(sorted(known)) or 'none'}."
            )
        if helm.exists():
            contents[helm] = _with_tag(helm, "image", "tag", tag, "")
        if kustomize.exists():
            contents[kustomize] = _with_tag(kustomize, "images", "newTag", tag, image)
    changed = [path for path, content in contents.items() if path.read_bytes() != content]
    for path in changed:
        path.write_bytes(contents[path])
    return changed


def _with_tag(path: Path, block: str, key: str, tag: str, image: str) -> bytes:
    """Return a YAML file's content with another value for one key of one top-level block.

    It is read line by line: a YAML library, if Python had one, would not give back every byte.
    """
    lines = path.read_bytes().decode("utf-8", "surrogateescape").splitlines(keepends=True)
    value = re.compile(
        rf"""(\s*(?:-\s+)?{key}:)[ \t]*("[^"]*"|'[^']*'|[^\s#'"]\S*)?(\s+#.*)?(\s*)"""
    )
    inside = False
    entry = 0
    found = []
    for number, line in enumerate(lines):
        if re.match(r"[^\s#-]", line):
            inside = bool(re.fullmatch(rf"{block}:\s*(#.*)?", line.rstrip()))
        elif inside and re.match(r"\s*-\s", line):
            entry = number
        parts = value.fullmatch(line) if inside else None
        if parts:
            found.append((number, parts, entry))
    if image:
        found = [item for item in found if _names(lines[item[2] :], image)]
    if len(found) != 1:
        mend = "; name one of the images with --image" if len(found) > 1 and not image else ""
        raise TagError(
            f"{path}: the block {block} should set {key} once"
            f"{f' for {image}' if image else ''}, not {len(found)} times{mend}."
        )
    number, parts, _ = found[0]
    # In quotes: a hash without letters is a number to YAML, and one like 12e4567 too.
    lines[number] = f'{parts[1]} "{tag}"{parts[3] or ""}{parts[4]}'
    return "".join(lines).encode("utf-8", "surrogateescape")


def _names(lines: list[str], image: str) -> bool:
    """Tell whether the list entry at the beginning of these lines has this name."""
    first, *others = lines
    indent = len(first) - len(first.lstrip())
    for line in [first.replace("-", " ", 1), *others]:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            return False
        name = re.fullmatch(r"""\s*name:\s+["']?([^\s"'#]+)["']?\s*(#.*)?""", line)
        if name:
            return name[1] == image
    return False


def main(arguments: list[str] | None = None) -> int:
    """Run the command line, and return its exit code.

    Args:
        arguments: The command line; that of the process where it is None.
    """
    parser = argparse.ArgumentParser(
        prog="image_tag.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--dirty",
        action="store_true",
        help="with changes that are not committed, print the tag with -dirty instead of failing",
    )
    parser.add_argument(
        "--revision", action="store_true", help="print the whole hash, for the image's labels"
    )
    parser.add_argument(
        "--write",
        nargs="+",
        metavar="ENVIRONMENT",
        default=[],
        help="write the tag into the deployment files of these environments",
    )
    parser.add_argument(
        "--directory",
        type=Path,
        default=ROOT / "deploy",
        help="where their helm/ and kustomize/ are (default: deploy)",
    )
    parser.add_argument(
        "--image", default="", help="the image's name, where an overlay sets the tags of several"
    )
    options = parser.parse_args(arguments)
    if options.write and (options.dirty or options.revision):
        parser.error("--write takes the tag of a commit: leave out --dirty and --revision")
    try:
        commit = find_commit(root=ROOT)
        tag = commit[:DIGITS] + suffix(allowed=options.dirty, root=ROOT)
        for path in write(tag, options.write, options.directory, options.image):
            print(f"{path}: {tag}", file=sys.stderr)
    except (TagError, OSError) as error:
        print(f"image_tag.py: {error}", file=sys.stderr)
        return 1
    print(commit if options.revision else tag)
    return 0


if __name__ == "__main__":
    sys.exit(main())
