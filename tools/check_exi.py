"""Hold the spelling of every `EXI-*` identifier in the repository to one list.

The list is src/amorce/conformity/requirements.yaml. Exit 1 with `file:line: sentence` for each
identifier that is not in it.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

REQUIREMENTS = Path("src/amorce/conformity/requirements.yaml")
_IDENTIFIER = re.compile(r"\bEXI[-_][A-Za-z0-9][\w-]*")
_LETTER = re.compile(r"(?<=\d)[ab]$")


def known_identifiers(requirements: Path) -> set[str]:
    """Return the identifiers of the list, and the CCT's own form of those told apart."""
    listed = [entry["id"] for entry in yaml.safe_load(requirements.read_text(encoding="utf-8"))]
    return {*listed, *(_LETTER.sub("", each) for each in listed)}


def misspelt(root: Path, files: list[str], known: set[str]) -> Iterator[str]:
    """Yield `file:line: sentence` for each identifier that nobody knows."""
    for name in files:
        path = root / name
        if not path.is_file():  # removed but still in Git's index, or a link to a directory
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            for found in _IDENTIFIER.findall(line):
                if found not in known:
                    yield f"{name}:{number}: {found} is not a requirement: see {REQUIREMENTS}."


def main() -> int:
    """Check what Git tracks in the current directory."""
    root = Path.cwd()
    listing = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True)
    files = listing.stdout.split("\0")
    errors = list(misspelt(root, files, known_identifiers(root / REQUIREMENTS)))
    print(*errors, sep="\n", end="\n" if errors else "", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
