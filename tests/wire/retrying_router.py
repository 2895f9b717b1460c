"""A router that sends numbered slices over C-STORE, and each one again until it is acknowledged.

Arguments: port, its AE title, its number, the number of studies, and a file: once it exists, no new slice is begun.
Prints the SOP Instance UID of each slice once it is acknowledged, and `not acknowledged` for each failure.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association


def ct_slice(study: str, instance: str) -> Dataset:
    """A slice of 128 x 128 pixels of noise, the same for the same UID."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, UID(instance)
    dataset.StudyInstanceUID = UID(study)
    dataset.Rows, dataset.Columns = 128, 128
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PixelData = random.Random(instance).randbytes(2 * 128 * 128)
    return dataset


def store(association: Association, dataset: Dataset) -> bool:
    """Whether the slice was acknowledged."""
    try:
        return bool(association.send_c_store(dataset).get("Status") == 0x0000)
    except RuntimeError:  # the association is gone
        return False


def main() -> None:
    """Send until told to stop."""
    port, title, router, studies, stop = sys.argv[1:]
    entity = AE(title)
    entity.add_requested_context(CTImageStorage, [ExplicitVRLittleEndian])
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = 5
    number = 0
    while not Path(stop).exists():
        association = entity.associate("127.0.0.1", int(port), ae_title="SHADOW")
        acknowledged = association.is_established
        while acknowledged and not Path(stop).exists():
            study = f"1.2.{number % int(studies)}"
            instance = f"{study}.{router}.{number}"
            acknowledged = store(association, ct_slice(study, instance))
            if acknowledged:
                print(instance, flush=True)
                number += 1
        if association.is_established:
            association.release()
        if not acknowledged:
            print("not acknowledged", flush=True)
            time.sleep(0.05)


if __name__ == "__main__":
    main()
