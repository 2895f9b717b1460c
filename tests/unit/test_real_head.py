"""A real head CT, with a tilted gantry and two slice thicknesses, from files to the model's grid.

The head is `Cranium.inv3` of Debian's package invesalius-examples (GPL-2; the data are not part of this project):
108 slices of 256 x 256 pixels of 0.957 mm, 1.5 mm apart. Slices are cut through it as a scanner with a tilted gantry
would have acquired them.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from head_ct import PSEUDONYMISER, RULES, as_file, head_slice, tiny_model
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless
from scipy.ndimage import map_coordinates

from shadow.index_test.deidentify import deidentify_instance
from shadow.index_test.deidentify_values import DeidentificationContext
from shadow.index_test.instance import read_instance
from shadow.index_test.model_input import prepare_study
from shadow.index_test.series import choose_series
from shadow.index_test.volume import build_volume

CRANIUM = Path("/usr/share/doc/invesalius-examples/examples/Cranium.inv3")
SHAPE, SPACING = (108, 256, 256), (1.5, 0.957, 0.957)
TILT = 18.5
CONTEXT = DeidentificationContext(PSEUDONYMISER, "P" + "2" * 20, "A" + "3" * 20, -70)

pytestmark = pytest.mark.skipif(not CRANIUM.exists(), reason="invesalius-examples is not installed")


@pytest.fixture(name="head", scope="module")
def a_head() -> np.ndarray:
    """int16 Hounsfield units, from the feet up."""
    with tarfile.open(CRANIUM) as archive:
        name = next(one for one in archive.getnames() if one.endswith("matrix.dat"))
        content = archive.extractfile(name)
        assert content is not None
        return np.frombuffer(content.read(), np.int16, int(np.prod(SHAPE))).reshape(SHAPE)


def tilted_slice(head: np.ndarray, table_mm: float, tilt: float) -> np.ndarray:
    """The plane through the table's position, tilted about the line from ear to ear through the image's centre."""
    angle = np.radians(tilt)
    down = (np.arange(256) - 127.5) * SPACING[1]
    z = (table_mm - down * np.sin(angle)) / SPACING[0]
    y = 127.5 + down * np.cos(angle) / SPACING[1]
    rows = np.broadcast_to(np.stack([z, y])[:, :, None], (2, 256, 256))
    columns = np.broadcast_to(np.arange(256.0), (256, 256))
    return map_coordinates(head.astype(np.float32), [rows[0], rows[1], columns], order=1, cval=-1024.0)


def scanned(head: np.ndarray, tilt: float, thick: int) -> list[Dataset]:
    """Twelve slices of 4 mm through the base, then so many of 7 mm, as JPEG-LS, in no order."""
    angle = np.radians(tilt)
    places = [(50.0 + 4 * number, 4.0) for number in range(12)] + [(98.0 + 7 * number, 7.0) for number in range(thick)]
    images = []
    for number, (table_mm, thickness) in enumerate(places, 1):
        stored = np.clip(np.round(tilted_slice(head, table_mm, tilt)) + 1024, 0, 4095)

        def describe(dataset: Dataset, table_mm: float = table_mm, thickness: float = thickness) -> None:
            half = 127.5 * SPACING[1]
            dataset.ImageOrientationPatient = ["1", "0", "0", "0", f"{np.cos(angle):.6f}", f"{-np.sin(angle):.6f}"]
            dataset.ImagePositionPatient = [
                f"{-half:.3f}", f"{-half * np.cos(angle):.3f}", f"{table_mm + half * np.sin(angle):.3f}",
            ]  # fmt: skip
            dataset.PixelSpacing = [f"{SPACING[1]}", f"{SPACING[2]}"]
            dataset.SliceThickness, dataset.GantryDetectorTilt = f"{thickness:g}", f"{tilt:g}"
            dataset.compress(JPEGLSLossless, generate_instance_uid=False)

        images.append(head_slice(number=number, pixels=stored, change=describe))
    return images[::2] + images[1::2]


@pytest.mark.parametrize(("tilt", "thick"), [(TILT, 8), (-TILT, 8), (TILT, 2), (-TILT, 3)])
def test_a_real_tilted_head_of_two_thicknesses_has_the_right_findings(
    head: np.ndarray, tmp_path: Path, tilt: float, thick: int
) -> None:
    images = scanned(head, tilt, thick)
    copies = {str(n): deidentify_instance(read_instance(as_file(one)), CONTEXT) for n, one in enumerate(images)}
    volume = build_volume(choose_series([read_instance(one) for one in copies.values()], RULES).slices, 6)
    assert set(volume.findings) == {"gantry_tilt", "uneven_spacing", "mixed_slice_thickness"}
    assert volume.tilt_degrees == pytest.approx(TILT, abs=0.1)
    steps = np.diff(volume.positions_mm) / np.cos(np.radians(TILT))
    np.testing.assert_allclose(steps, [4.0] * 12 + [7.0] * (thick - 1), atol=0.01)
    expected = np.clip(np.round(tilted_slice(head, 50.0 + 4 * 5, tilt)), -1024, 3071)
    np.testing.assert_array_equal(volume.values[5], expected)
    given = prepare_study(copies, RULES, tiny_model(tmp_path))
    slices, tissue, _, _, soft, _ = given.summary
    assert slices == 12 + thick
    assert tissue > 0.9, "the grid of 48 mm lies inside the head"
    assert 0.4 < soft < 1.0, "brain is soft tissue"
