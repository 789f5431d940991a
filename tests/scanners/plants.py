"""What a scanner must find: a secret, a licence that taints the whole, a known vulnerability."""

import os
from base64 import encodebytes
from pathlib import Path

# In two pieces, so that nobody's scanner finds it here.
SECRET = "-----BEGIN PRIVATE " + "KEY-----\n{}-----END PRIVATE " + "KEY-----\n"
METADATA = """\
Metadata-Version: 2.4
Name: {name}
Version: {version}
License-Expression: {licence}
"""


def plant_secret(directory: Path) -> None:
    """Write what looks like a private key into application/key.pem."""
    path = directory / "application" / "key.pem"
    path.parent.mkdir(parents=True)
    path.write_text(SECRET.format(encodebytes(os.urandom(96)).decode()), encoding="ascii")


def plant_licence(directory: Path) -> None:
    """Write the metadata of a Python library under the AGPL into dependencies."""
    plant_library(directory, "planted", "1.0", "AGPL-3.0-only")


def plant_vulnerability(directory: Path) -> None:
    """Write the metadata of a Django of 2017 into dependencies."""
    plant_library(directory, "django", "2.0", "BSD-3-Clause")


def plant_library(directory: Path, name: str, version: str, licence: str) -> None:
    path = directory / "dependencies" / f"{name}-{version}.dist-info" / "METADATA"
    path.parent.mkdir(parents=True)
    path.write_text(METADATA.format(name=name, version=version, licence=licence), encoding="utf-8")
