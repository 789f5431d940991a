"""List what an image holds, as a CycloneDX 1.6 document on standard output.

The Dockerfile runs it in the builder, so that every builder makes the same list without any other
tool. It reads what is installed, not what was asked for: the metadata of the Python packages, and
the files of the runtime's Debian packages. The same image gives the same bytes: no time, no random
number.
"""

import argparse
import json
import re
import uuid
from collections.abc import Iterator
from email import message_from_string
from email.message import Message
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]


def python_packages(directory: Path) -> Iterator[Component]:
    """List the Python packages that are installed in a directory."""
    for distribution in distributions(path=[str(directory)]):
        # As PyPI writes it (PEP 503).
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        purl = f"pkg:pypi/{name}@{quote(distribution.version)}"
        yield component(name, distribution.version, purl, python_licences(distribution))


def python_licences(distribution: Distribution) -> list[Component]:
    """Return a package's licence: an SPDX expression where it declares one (PEP 639)."""
    metadata = message_from_string(distribution.read_text("METADATA") or "")
    if expression := metadata.get("License-Expression"):
        return [{"expression": expression}]
    classifiers = [each.split(" :: ") for each in metadata.get_all("Classifier", [])]
    names = [each[-1] for each in classifiers if each[0] == "License"]
    # Some have the licence's whole text there.
    short = [each for each in [metadata.get("License", "")] if each and "\n" not in each]
    return [{"license": {"name": name}} for name in names or short]


def debian_packages(directory: Path, documentation: Path) -> Iterator[Component]:
    """List Debian packages.

    Args:
        directory: What was /var/lib/dpkg/status, or the files of status.d where there is no dpkg;
            and os-release.
        documentation: What was /usr/share/doc.
    """
    system = operating_system(directory)
    distribution = f"{system['name']}-{system['version']}"
    seen = set()
    for path in sorted(directory.iterdir()):
        for stanza in path.read_text(encoding="utf-8", errors="replace").split("\n\n"):
            fields = message_from_string(stanza.lstrip("\n"))
            if not installed(fields):
                continue
            name, version = fields["Package"], fields["Version"]
            query = f"arch={fields['Architecture']}&distro={distribution}"
            purl = f"pkg:deb/{system['name']}/{quote(name)}@{quote(version)}?{query}"
            if purl not in seen:
                seen.add(purl)
                yield component(name, version, purl, debian_licences(documentation / name))


def installed(fields: Message) -> bool:
    """Return whether a stanza is that of a package whose files are there."""
    status = fields.get("Status", "install ok installed")
    return {"Package", "Version"} <= set(fields) and status.endswith(" installed")


def debian_licences(documentation: Path) -> list[Component]:
    """Return the licences that a package's machine-readable copyright file names (DEP 5)."""
    path = documentation / "copyright"
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    if not text.startswith("Format:"):
        return []
    names = {name.strip() for name in re.findall(r"(?m)^License:[ \t]*(\S.*)$", text)}
    return [{"license": {"name": name}} for name in sorted(names)]


def operating_system(directory: Path) -> Component:
    """Return the distribution that os-release names."""
    text = (directory / "os-release").read_text(encoding="utf-8")
    fields = dict(re.findall(r'(?m)^(\w+)="?(.*?)"?$', text))
    return {
        "type": "operating-system",
        "bom-ref": "os",
        "name": fields["ID"],
        "version": fields.get("VERSION_ID", "unknown"),
    }


def component(name: str, version: str, purl: str, licences: list[Component]) -> Component:
    """Return a library; its package URL is also what others refer to it by."""
    described = {"type": "library", "bom-ref": purl, "name": name, "version": version}
    return {**described, "purl": purl, **({"licenses": licences} if licences else {})}


def document(application: Component, components: list[Component]) -> dict[str, Any]:
    """Return the document: the application, and all that it is delivered with."""
    content = json.dumps([application, *components])
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {"lifecycles": [{"phase": "build"}], "component": application},
        "components": components,
        "dependencies": [
            {"ref": application["bom-ref"], "dependsOn": [each["bom-ref"] for each in components]}
        ],
    }


def main() -> None:
    """Write the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path, help="the application's package")
    parser.add_argument("dependencies", type=Path, help="where pip installed them")
    parser.add_argument("packages", type=Path, help="dpkg's files and os-release")
    parser.add_argument("documentation", type=Path, help="the packages' copyright files")
    arguments = parser.parse_args()

    source = (arguments.package / "__init__.py").read_text(encoding="utf-8")
    said = dict(re.findall(r'(?m)^(SERVICE|LICENCE|__version__) = "(.+)"$', source))
    application = {
        "type": "container",
        "bom-ref": said["SERVICE"],
        "name": said["SERVICE"],
        "version": said["__version__"],
        "licenses": [{"expression": said["LICENCE"]}],
    }
    components = [
        operating_system(arguments.packages),
        *python_packages(arguments.dependencies),
        *debian_packages(arguments.packages, arguments.documentation),
    ]
    components.sort(key=lambda each: str(each["bom-ref"]))
    print(json.dumps(document(application, components), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
