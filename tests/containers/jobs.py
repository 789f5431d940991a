"""Runs the pod of a rendered Job in containers, as a kubelet would: init containers first.

Commands, variables, volumes and limits of memory are those of the manifests. Everything runs as
nobody in particular, without rights, on a root file system that is read-only. Not imitated: the
network policies, the quota, and the limits of time and of an emptyDir.
"""

import subprocess
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.containers.conftest import docker

Manifest = Mapping[str, Any]


@dataclass
class Kubelet:
    """What a pod finds in its namespace and on its node.

    Args:
        directory: Where volumes are made.
        manifests: The objects of the namespace; ConfigMaps are taken from them.
        secrets: The files of each Secret.
        images: What runs in place of an image that the node does not have, and the files that are
            added to it, with their path there.
    """

    directory: Path
    manifests: Iterable[Manifest]
    secrets: Mapping[str, Mapping[str, str]]
    images: Mapping[str, tuple[str, Mapping[Path, str]]] = field(default_factory=dict)

    def run(self, job: Manifest) -> tuple[int, str]:
        """Run the pod of a Job or a CronJob; return the exit code and what it printed."""
        spec = job["spec"].get("jobTemplate", job)["spec"]["template"]["spec"]
        volumes = {volume["name"]: self._make(volume) for volume in spec["volumes"]}
        printed = []
        for container in [*spec["initContainers"], *spec["containers"]]:
            code, output = self._run(container, volumes)
            printed.append(output)
            if code:
                return code, "".join(printed)
        return 0, "".join(printed)

    def _run(self, container: Manifest, volumes: Mapping[str, Path]) -> tuple[int, str]:
        image = container["image"]
        additions: Mapping[Path, str] = {}
        if not docker("images", "--quiet", image):
            image, additions = self.images[image]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        memory = container["resources"]["limits"]["memory"].removesuffix("i")
        arguments = [
            *("--rm", "--network", "host", "--user", "1000730000:0", "--read-only"),
            *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", memory),
        ]
        for mount in container["volumeMounts"]:
            options = ":ro" if mount.get("readOnly") else ""
            arguments += ["--volume", f"{volumes[mount['name']]}:{mount['mountPath']}{options}"]
        for source, target in additions.items():
            arguments += ["--volume", f"{source}:{target}:ro"]
        variables: dict[str, str] = {}
        for source in container.get("envFrom", []):
            variables |= self._config_map(source["configMapRef"]["name"])
        variables |= {variable["name"]: variable["value"] for variable in container["env"]}
        for name, value in variables.items():
            arguments += ["--env", f"{name}={value}"]
        program, *words = container["command"]
        result = subprocess.run(
            ["docker", "run", *arguments, "--entrypoint", program, image, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        return result.returncode, result.stdout

    def _make(self, volume: Manifest) -> Path:
        path = self.directory / f"{volume['name']}-{uuid.uuid4().hex[:8]}"
        path.mkdir(parents=True)
        # Anybody may write, as into an emptyDir.
        path.chmod(0o777)
        if "configMap" in volume:
            self._write(path, self._config_map(volume["configMap"]["name"]))
        if "secret" in volume:
            self._write(path, self.secrets[volume["secret"]["secretName"]])
        for source in volume.get("projected", {}).get("sources", []):
            files = self.secrets[source["secret"]["name"]]
            chosen = {each["path"]: files[each["key"]] for each in source["secret"]["items"]}
            self._write(path, chosen)
        return path

    def _config_map(self, name: str) -> Mapping[str, str]:
        [found] = [
            manifest["data"]
            for manifest in self.manifests
            if manifest["kind"] == "ConfigMap" and manifest["metadata"]["name"] == name
        ]
        data: Mapping[str, str] = found
        return data

    @staticmethod
    def _write(directory: Path, files: Mapping[str, str]) -> None:
        for name, content in files.items():
            (directory / name).write_text(content, encoding="utf-8")
