"""The receiver beside dcmtk's storescp and Orthanc, in one run, each with TCP_NODELAY=1 on both ends.

    python benchmarks/receiver.py [--rounds 3] [--images 1000] [--flat 20000]

Sends synthetic CT images of 0.5 MB with dcmsend over 1 and 8 associations, in interleaved rounds, and prints
medians: images a second, CPU milliseconds an image, and the ratios that are promised. Ours and Orthanc (with
SyncStorageArea) answer when an image is durable; storescp does not. Needs dcmtk and Orthanc (apt: dcmtk, orthanc).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

ENVIRONMENT = os.environ | {"TCP_NODELAY": "1"}
TICKS = os.sysconf("SC_CLK_TCK")
OURS = """
import sys
from datetime import time
from pathlib import Path
from zoneinfo import ZoneInfo
from shadow.adapters.dicom_scp import run_mirror
from shadow.domain.clock import SystemClock
from shadow.domain.home import Home
from shadow.domain.identifiers import Pseudonymiser
from shadow.protocol.deployment import Implementation, Receiver
from shadow.protocol.site import Shift, Site
from shadow.store.ledger import Ledger

root, port, implementation = sys.argv[1:]
day = (Shift("Day", time(7)),)
site = Site("site", "Site", ZoneInfo("UTC"), "SITE", "trim-upper/1", ("ROUTER",), (), "ascii", day, ())
settings = Receiver(port=int(port), quiet_period_seconds=3600.0, implementation=Implementation(implementation))
with Ledger(f"sqlite:///{root}/ledger.db", "trial") as ledger:
    ledger.migrate()
    run_mirror(settings, Home(Path(root)), (site,), Pseudonymiser(b"a secret of thirty-two bytes, ok"), SystemClock(),
               ledger.append, lambda: None)
"""


def ours(implementation: str) -> Callable[[Path, int], list[str]]:
    return lambda root, port: [sys.executable, "-c", OURS, str(root), str(port), implementation]


def storescp(root: Path, port: int) -> list[str]:
    return ["/usr/bin/storescp", "-od", str(root), "+uf", "-aet", "SHADOW", str(port)]


def storescp_fork(root: Path, port: int) -> list[str]:
    return ["/usr/bin/storescp", "--fork", "+B", "-pdu", "131072", "-od", str(root), "+uf", "-aet", "SHADOW", str(port)]


def orthanc(root: Path, port: int) -> list[str]:
    settings = {
        "StorageDirectory": str(root), "IndexDirectory": str(root), "DicomPort": port, "DicomAet": "SHADOW",
        "SyncStorageArea": True, "HttpServerEnabled": False, "OverwriteInstances": True, "DicomAlwaysAllowStore": True,
        "DicomCheckCalledAet": False, "StorageCompression": False, "DicomThreadsCount": 16,
    }  # fmt: skip
    path = root / "orthanc.json"
    path.write_text(json.dumps(settings))
    return ["/usr/sbin/Orthanc", str(path)]


def write_images(folder: Path, count: int) -> list[Path]:
    """CT images of 512 x 512 x 16 bits, ten series of one study each."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(1).integers(-1000, 2000, (512, 512), dtype=np.int16)
    paths = []
    for number in range(count):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = CTImageStorage
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = f"1.2.826.0.1.1.{number + 1}"
        image.StudyInstanceUID = f"1.2.826.0.1.2.{number % 10}"
        image.SeriesInstanceUID = f"1.2.826.0.1.3.{number % 10}"
        image.PatientName, image.PatientID, image.Modality = "Bench^Mark", f"{number % 10}", "CT"
        image.Rows = image.Columns = 512
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 1
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.PixelData = np.roll(noise, number).tobytes()
        paths.append(folder / f"{number}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    return paths


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def family(pid: int) -> list[int]:
    """The process and its children, which storescp forks."""
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
        except (OSError, ValueError):
            continue
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the process and of children that have ended."""
    total = 0
    for one in family(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(field) for field in (fields[11:15] if one == pid else fields[11:13]))
    return total / TICKS


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def running(command: Callable[[Path, int], list[str]], scratch: Path) -> Iterator[tuple[int, int]]:
    """The process id and the port of a receiver on an empty folder of the disk.

    The folder stays until the benchmark ends: for minutes after files were deleted, ext4 steps over each of their
    inodes whenever it makes a new file, which measures the receiver before and not this one.
    """
    root = Path(tempfile.mkdtemp(prefix="receiver-", dir=scratch))
    port = free_port()
    process = subprocess.Popen(
        command(root, port), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        else:
            raise SystemExit(f"{command(root, port)[0]} does not listen")
        time.sleep(0.5)
        yield process.pid, port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def send(lists: list[list[Path]], port: int) -> float:
    """Seconds to send every list over an association of its own, at once."""
    start = time.perf_counter()
    senders = [
        subprocess.Popen(
            ["/usr/bin/dcmsend", "-aet", "ROUTER", "-aec", "SHADOW", "127.0.0.1", str(port), *map(str, one)],
            env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for one in lists
    ]  # fmt: skip
    if any(sender.wait() for sender in senders):
        raise SystemExit("an image was not stored")
    return time.perf_counter() - start


def touch_memory(count: int) -> None:
    """Use so many bytes once: a virtual machine's memory costs more the first time, and a page cache would pay it.

    Receivers that write through the page cache would look slower on a machine that has just been started.
    """
    available = int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]) * 1024
    program = "import sys, numpy; numpy.ones(int(sys.argv[1]), dtype=numpy.uint8)"
    subprocess.run([sys.executable, "-c", program, str(min(count, available * 3 // 4))], check=True)


def measure(
    command: Callable[[Path, int], list[str]], images: list[Path], associations: int, scratch: Path
) -> tuple[float, float]:
    """Images a second and CPU milliseconds an image."""
    lists = [images[number::associations] for number in range(associations)]
    with running(command, scratch) as (pid, port):
        send([images[:2]], port)
        before = cpu_seconds(pid)
        seconds = send(lists, port)
        time.sleep(0.3)
        return len(images) / seconds, (cpu_seconds(pid) - before) / len(images) * 1000


def flat(images: list[Path], total: int, scratch: Path) -> None:
    """Memory of our receiver while it takes `total` images."""
    with running(ours("streaming"), scratch) as (pid, port):
        sent = 0
        while sent < total:
            send([images[number::4] for number in range(4)], port)
            sent += len(images)
            if sent % (5 * len(images)) == 0 or sent >= total:
                print(f"{sent:>7} images: {resident_bytes(pid) / 2**20:6.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--flat", type=int, default=0, help="also send so many images and print the memory")
    arguments = parser.parse_args()
    receivers = {
        "ours": ours("streaming"), "ours, stock": ours("stock"), "storescp": storescp,
        "storescp --fork": storescp_fork, "Orthanc sync": orthanc,
    }  # fmt: skip
    with tempfile.TemporaryDirectory(dir=os.environ.get("SHADOW_BENCH_FOLDER")) as folder:
        scratch = Path(folder)
        images = write_images(scratch / "images", arguments.images)
        touch_memory(sum(path.stat().st_size for path in images) * (2 * arguments.rounds * len(receivers) + 1))
        found: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for _ in range(arguments.rounds):
            for associations in (1, 8):
                for name, command in receivers.items():
                    found.setdefault((name, associations), []).append(measure(command, images, associations, scratch))
        print(f"{'receiver':<18}{'1 assoc':>10}{'CPU ms':>8}{'8 assoc':>10}{'CPU ms':>8}   images/s, medians")
        medians = {
            key: tuple(statistics.median(one[part] for one in values) for part in (0, 1))
            for key, values in found.items()
        }
        for name in receivers:
            cells = "".join(f"{medians[name, n][0]:>10.0f}{medians[name, n][1]:>8.2f}" for n in (1, 8))
            print(f"{name:<18}{cells}")
        for other, associations in (("Orthanc sync", 8), ("storescp", 8), ("storescp --fork", 8), ("Orthanc sync", 1)):
            ratios = sorted(
                a[0] / b[0] for a, b in zip(found["ours", associations], found[other, associations], strict=True)
            )
            middle = statistics.median(ratios)
            print(f"ours / {other}, {associations}: {middle:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        for associations in (1, 8):
            ratio = medians["ours", associations][1] / medians["storescp", associations][1]
            print(f"CPU an image, ours / storescp, {associations}: {ratio:.2f}")
        if arguments.flat:
            flat(images, arguments.flat, scratch)


if __name__ == "__main__":
    main()
