"""A real Orthanc on loopback: archive and router of the tests. It ends with the test that started it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

PROGRAM = Path("/usr/sbin/Orthanc")
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
AE_TITLE = "RIVER_PACS"


@dataclass(frozen=True)
class Orthanc:
    """Where it listens, and its REST interface."""

    dicom_port: int
    url: str

    def post(self, path: str, **content: Any) -> Any:
        answer = httpx.post(f"{self.url}{path}", json=content, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def get(self, path: str) -> Any:
        return httpx.get(f"{self.url}{path}", timeout=60).raise_for_status().json()

    def file(self, instance: str) -> bytes:
        """The instance as it is kept."""
        return httpx.get(f"{self.url}/instances/{instance}/file", timeout=60).raise_for_status().content

    def delete(self, path: str) -> None:
        httpx.delete(f"{self.url}{path}", timeout=60).raise_for_status()

    def upload(self, content: bytes) -> None:
        httpx.post(f"{self.url}/instances", content=content, timeout=60).raise_for_status()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _another_port(*chosen: int) -> int:
    """A free port that is none of those; the kernel may give one that nobody has bound yet a second time."""
    return next(port for port in iter(free_port, None) if port not in chosen)


@contextmanager
def running_orthanc(folder: Path, receiver_port: int, **settings: Any) -> Iterator[Orthanc]:
    """Start it with `SHADOW` at `receiver_port` as a modality."""
    folder.mkdir(parents=True, exist_ok=True)
    dicom_port = _another_port(receiver_port)
    web_port = _another_port(receiver_port, dicom_port)
    configuration = {
        "Name": "tests", "StorageDirectory": str(folder), "IndexDirectory": str(folder),
        "DicomPort": dicom_port, "DicomAet": AE_TITLE, "HttpPort": web_port, "RemoteAccessAllowed": False,
        "DicomModalities": {"shadow": ["SHADOW", "127.0.0.1", receiver_port]},
        "DicomAlwaysAllowStore": True, "DicomCheckCalledAet": False, "SynchronousCMove": True,
        "DicomAlwaysAllowFind": True, "DicomAlwaysAllowGet": True, "DicomAlwaysAllowMove": True,
        "OverwriteInstances": True, "Plugins": [str(DICOMWEB)], "StableAge": 1, "SaveJobs": False,
    }  # fmt: skip
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration | settings))
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [str(PROGRAM), str(path)], env=os.environ | {"TCP_NODELAY": "1"}, stdout=log, stderr=log, cwd=folder
    )
    started = Orthanc(dicom_port, f"http://127.0.0.1:{web_port}")
    try:
        for _ in range(200):
            try:
                started.get("/system")
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        else:
            raise AssertionError((folder / "log").read_text())
        yield started
    finally:
        process.terminate()
        process.wait(timeout=30)
        log.close()
