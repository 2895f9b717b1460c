"""A vendor's product that runs elsewhere: only its results come here, and how they are read is promised beforehand."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ResultCoding:
    """How one channel says positive, negative, or that the product failed.

    Attributes:
        finding: what carries the answer: OBX-3.1 (HL7), the concept name's code value (SR) or the column (CSV).
        positive, negative, failed: its values, compared without case; any other value is quarantined.
        score: what carries the score, likewise; empty where there is none.
        sender: MSH-3 of its messages, or Manufacturer's Model Name (0008,1090) of its SR objects; unused for CSV.
        accession: the CSV column with the accession number; unused elsewhere.
    """

    finding: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    failed: tuple[str, ...] = ()
    score: str = ""
    sender: str = ""
    accession: str = ""

    def __post_init__(self) -> None:
        values = [one.casefold() for one in (*self.positive, *self.negative, *self.failed)]
        if not self.positive or not self.negative:
            raise ValueError("positive, negative: need at least one value each")
        if len(set(values)) < len(values):
            raise ValueError("positive, negative, failed: a value stands in two of them")


@dataclass(frozen=True, slots=True)
class VendorProduct:
    """The product as it is known from outside.

    Attributes:
        product, version: as its maker names them; another version is another model.
        hl7, sr, csv: the channels that its results may come by; at least one.
    """

    product: str
    version: str
    hl7: ResultCoding | None = None
    sr: ResultCoding | None = None
    csv: ResultCoding | None = None

    def __post_init__(self) -> None:
        if self.hl7 is None and self.sr is None and self.csv is None:
            raise ValueError("hl7, sr, csv: at least one of them says how results arrive")
        for name, coding in (("hl7", self.hl7), ("sr", self.sr)):
            if coding is not None and not coding.sender:
                raise ValueError(f"{name}.sender: is missing; write which sender's results these are")
        if self.csv is not None and not self.csv.accession:
            raise ValueError("csv.accession: is missing; write the column with the accession number")

    @property
    def sha256(self) -> str:
        """Hex digest of all that is declared: it stands for the product where a file's digest stands for a model."""
        return hashlib.sha256(repr(self).encode()).hexdigest()
