"""Lookup tables of grey values: the Modality LUT and the VOI LUT of an image (PS3.3 C.11.1.1 and C.11.2.1.1).

pydicom's `apply_modality_lut` and `apply_voi` read neither entries of 8 bits packed two to a word nor entries of 10 or
12 bits, which digital X-ray allows (PS3.3 C.8.11.3.1.5). So tables are read here; tests hold the rest against pydicom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shadow.domain.errors import NotEvaluable
from shadow.index_test.instance import Instance

MALFORMED = "malformed_lookup_table"
MOST_ENTRIES = 1 << 16
FEWEST_BITS, MOST_BITS = 8, 16

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.integer] | Floats


@dataclass(frozen=True, slots=True)
class LookupTable:
    """One table.

    Attributes:
        first: the input value that the first entry stands for; lower ones take it too.
        bits: of each entry; the output runs from 0 to 2^bits - 1.
        entries: uint16, of which input values beyond the last take the last.
    """

    first: int
    bits: int
    entries: npt.NDArray[np.uint16]

    def looked_up(self, values: Numbers) -> Floats:
        """float32 of the same shape: the entry of each value, fractions rounded to the nearest.

        >>> table = LookupTable(10, 8, np.array([5, 7, 200], np.uint16))
        >>> table.looked_up(np.array([-3, 10, 11, 12, 999])).tolist()
        [5.0, 5.0, 7.0, 200.0, 200.0]
        """
        places = np.rint(values).astype(np.int64) - self.first
        found: Floats = self.entries[np.clip(places, 0, len(self.entries) - 1)].astype(np.float32)
        return found

    @property
    def highest(self) -> int:
        """The end of the output's range."""
        return (1 << self.bits) - 1


def read_lookup_table(item: Instance, *, signed: bool) -> LookupTable:
    """The table of one item of a Modality LUT Sequence or VOI LUT Sequence.

    Args:
        item: with LUT Descriptor (0028,3002) and LUT Data (0028,3006).
        signed: whether the values that go in may be negative. It decides how the first value mapped is read, since
            senders mix up its VR; the other two numbers of the descriptor are never negative.

    Raises:
        NotEvaluable: `malformed_lookup_table`.
    """
    described, raw = item.numbers("LUTDescriptor"), item.raw("LUTData")
    if len(described) != 3 or raw is None:
        raise NotEvaluable(MALFORMED, "no descriptor or no data")
    count, first, bits = (int(one) & 0xFFFF for one in described)
    width = entry_bytes(count, bits, len(raw))
    if width is None:
        raise NotEvaluable(MALFORMED, "descriptor and data do not agree")
    entries = np.frombuffer(raw, f"<u{width}", count or MOST_ENTRIES).astype(np.uint16)
    if int(entries.max()) >> bits:
        raise NotEvaluable(MALFORMED, "an entry of more bits than described")
    if signed and first & 0x8000:
        first -= 1 << 16
    return LookupTable(first, bits, entries)


def entry_bytes(count: int, bits: int, length: int) -> int | None:
    """Bytes of an entry, told by the length of the data as PS3.3 C.11.1.1.1 demands; None where nothing fits.

    A count of 0 is 65,536 entries. Entries of 8 bits lie two to a word, or each in a word of its own.

    >>> entry_bytes(256, 8, 256), entry_bytes(256, 8, 512), entry_bytes(0, 16, 131072), entry_bytes(256, 12, 256)
    (1, 2, 2, None)
    """
    entries = count or MOST_ENTRIES
    if not FEWEST_BITS <= bits <= MOST_BITS:
        return None
    if length == 2 * entries:
        return 2
    return 1 if bits == FEWEST_BITS and length == entries + entries % 2 else None
