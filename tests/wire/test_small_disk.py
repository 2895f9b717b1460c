"""A file system that fills up under the receiver, for real; needs the right to mount one."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode
from test_dicom_attacks import connected, store_raw
from test_dicom_scp import Running, ct_slice, mirror_at_work, receiver, until

from shadow.index_test.inlet import SECONDS_BETWEEN_SPACE_CHECKS
from shadow.index_test.spool_index import SpoolIndex
from shadow.index_test.spooled_instance import SpooledInstance, instance_of
from shadow.protocol.deployment import Implementation

pytestmark = pytest.mark.server

MEBIBYTE = 1 << 20


@pytest.fixture(params=["tmpfs", "ext4"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 16 MiB."""
    folder, image = tmp_path / "disk", tmp_path / "image"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=16m", "tmpfs"]
    if request.param == "ext4":
        image.write_bytes(bytes(16 * MEBIBYTE))
        subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", str(image)], check=True)
        options = ["-o", "loop", str(image)]
    if subprocess.run(["/usr/bin/mount", *options, str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("this user, or this machine, may not mount a file system")
    yield folder
    subprocess.run(["/usr/bin/umount", "--lazy", str(folder)], check=True)


def send(running: Running, images: list[Dataset]) -> list[int]:
    """The statuses, all over one association."""
    statuses = []
    with connected(running) as peer:
        for image in images:
            data_set = encode(image, is_implicit_vr=False, is_little_endian=True)
            assert data_set is not None
            statuses.append(store_raw(peer, image.SOPInstanceUID, data_set))
    return statuses


@pytest.mark.parametrize("implementation", list(Implementation))
def test_a_disk_that_fills_up_refuses_and_goes_on_when_there_is_room(
    small_disk: Path, implementation: Implementation
) -> None:
    images = [ct_slice("1.2.3", f"1.2.3.1.{number}", rows=4096, comment=f"{number}") for number in range(40)]
    filler = small_disk / "filler"
    filler.write_bytes(bytes(6 * MEBIBYTE))
    with mirror_at_work(small_disk, receiver(implementation=implementation, quiet_period_seconds=0.5)) as running:
        statuses = send(running, images)
        assert {0x0000, 0xA700} == set(statuses)
        stored = {image.SOPInstanceUID for image, status in zip(images, statuses, strict=True) if status == 0x0000}
        until(lambda: {one.name.split("~")[0] for one in running.files("**/*.dcm")} == stored)
        assert running.files("**/*.part") == []
        filler.unlink()
        time.sleep(SECONDS_BETWEEN_SPACE_CHECKS + 0.1)  # the file system is not asked at every object
        refused = [image for image in images if image.SOPInstanceUID not in stored][:8]
        assert send(running, refused) == [0x0000] * len(refused)
        expected = sorted(stored | {image.SOPInstanceUID for image in refused})
        until(lambda: len(running.files("studies/*/*.dcm")) == len(expected))
        until(lambda: running.files("open/*") == [], 20.0)
        newest = running.files("studies/*/manifest-r*.json")[-1]
        manifest = running.manifest("1.2.3", int(newest.stem.removeprefix("manifest-r")))
        assert sorted(one.sop_instance_uid for one in manifest.instances) == expected
        for path in running.files("studies/*/*.dcm"):
            instance = instance_of(path.name)
            assert instance is not None
            assert instance.is_whole(path.read_bytes())


def test_an_index_that_a_full_disk_refuses_stops_nobody_and_is_written_when_there_is_room(small_disk: Path) -> None:
    spool, filler = small_disk / "spool", small_disk / "filler"
    study = spool / "studies" / "S1"
    study.mkdir(parents=True)
    names = {f"1.2.{number}": f"1.2.{number}~b3-{number:064x}.dcm" for number in range(2000)}
    (study / names["1.2.1999"]).touch()
    with SpoolIndex(spool) as index:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        index.add("S1", [SpooledInstance(name, uid, name[-68:-4]) for uid, name in names.items()])
        index.write()
        filler.unlink()
        assert index.find("1.2.1999") == study / names["1.2.1999"]
