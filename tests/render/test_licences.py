"""The licence texts are the published ones, word for word."""

import hashlib
from pathlib import Path

import pytest

from tests.render.pairwise import PARAMETERS
from tests.render.rendering import render

# SHA-256 of the words, one space between them. Apache-2.0 and AGPL-3.0 as Debian publishes them in
# /usr/share/common-licenses, EUPL-1.2 and MIT as the SPDX licence list does.
WORDS = {
    "EUPL-1.2": "b265314fe0920ed66121307961dabb70eb3c26c508d2362783e821bbb4a0e16c",
    "Apache-2.0": "0ffddef9e48f8a09aed5caf2d44f7ba1c1be2d9b8e0a6f693b1635b2d5566645",
    "MIT": "fe2a9817987f862eaced948f0468c7f51d2fedfc48c5c505b246a49a3870e9a5",
    "AGPL-3.0-or-later": "2cd0fb7883a3b3553dedbb0bad171646d46f51e2642951aae7c59cb5cec86c46",
}


@pytest.mark.parametrize("licence", WORDS)
def test_a_text_is_whole(repository: Path, licence: str) -> None:
    text = (repository / "includes" / "licences" / f"{licence}.txt").read_text()
    assert hashlib.sha256(" ".join(text.split()).encode()).hexdigest() == WORDS[licence]


@pytest.mark.parametrize("licence", PARAMETERS["licence"])
def test_the_licence_file_names_its_owner_and_holds_the_text(
    repository: Path, template: Path, tmp_path: Path, licence: str
) -> None:
    project = render(template, tmp_path / "out", {"licence": licence, "owning_team": "L'équipe"})
    written = (project / "LICENSE").read_text()
    text = (repository / "includes" / "licences" / f"{licence}.txt").read_text()
    # Article 1 of the EUPL asks for this notice, right after the copyright.
    notice = "Licensed under the EUPL\n\n" if licence == "EUPL-1.2" else ""
    assert written == f"Copyright (c) L'équipe\n\n{notice}{text}"
