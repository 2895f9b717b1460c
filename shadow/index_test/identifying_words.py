"""The names and identifiers that one instance gives of people, to find them again in text that is kept.

A station, a software version or a kernel is free text and is kept, because the trial is about scanners. Somebody may
have typed a patient into it. Whoever stands in the same header is known, and is looked for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pydicom.datadict import tag_for_keyword

from shadow.index_test.character_sets import REPLACED, in_unicode
from shadow.index_test.deidentify_table import DEVICE_WORDS, IDENTIFIER_KEYWORDS, WORDS
from shadow.index_test.instance import Element, Instance

_SEPARATORS = re.compile(r"[^A-Z0-9\x80-\U0010ffff]+")
_NORTHERN = str.maketrans({"Ä": "AE", "Ö": "OE", "Ü": "UE", "Ø": "OE", "Å": "AA"})
_PLAIN = str.maketrans({"Æ": "AE", "Œ": "OE", "Ø": "O", "Ł": "L", "Đ": "D", "Ð": "D", "Þ": "TH", "Ħ": "H", "Ŧ": "T"})
"""Letters that Unicode does not split into a letter and an accent."""
_ACCENTS = dict.fromkeys(range(0x0300, 0x0370))
_ESCAPE = b"\x1b"
_PATIENT_GROUP = 0x0010
_SHORTEST_NAME = 2
_TWO_INITIALS = 2
_SHORTEST_IDENTIFIER = 4
_SHORTEST_NUMBER = 6
_WHOLE = re.compile(r"[+-]?([0-9]*)")
_WITH_EXPONENT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]+\Z", re.ASCII)
_DATE = re.compile(r"((?:19|20)\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])\Z", re.ASCII)
_DATE_DIGITS, _INSTANT_DIGITS = 8, (12, 14)
_NUMBERS = re.compile(rf"\d{{{_SHORTEST_NUMBER},}}")
_SHORTEST_WITHIN = 5
_HARMLESS = WORDS | DEVICE_WORDS
_IDENTIFIERS = frozenset(tag for keyword in IDENTIFIER_KEYWORDS if (tag := tag_for_keyword(keyword)) is not None)
_PATIENT_IDENTIFIERS = frozenset({tag_for_keyword("PatientID"), tag_for_keyword("OtherPatientIDs")})
_PER_FRAME = tag_for_keyword("PerFrameFunctionalGroupsSequence")


@dataclass(frozen=True, slots=True)
class IdentifyingWords:
    """Upper-case words that name a person, or the study by its numbers.

    Attributes:
        parts: parts of names, as they stand.
        names: those that are no word of devices and of examinations, initials with a part, and identifiers.
        within: those of them that are long enough to be looked for inside other words.
        numbers: runs of digits in identifiers.
    """

    parts: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    within: tuple[str, ...] = ()
    numbers: frozenset[str] = frozenset()

    def stand_in(self, text: str) -> bool:
        """Whether a text about a device names a person of this header.

        >>> IdentifyingWords(names=frozenset({"LI"}), within=("HANSEN",)).stand_in("CT1 OLI")
        False
        >>> IdentifyingWords(names=frozenset({"LI"}), within=("HANSEN",)).stand_in("ct_mhansen")
        True
        """
        words = [word for word in _SEPARATORS.split(text.upper()) if word not in _HARMLESS]
        joined = "".join(words)
        return any(word in self.names for word in words) or any(one in joined for one in self.within)

    def number(self, text: str) -> bool:
        """Whether a number in text (DS, IS) is an identifier of this header, by its first digits or its value.

        >>> words = IdentifyingWords(numbers=frozenset({"7731942"}))
        >>> words.number("+07731942.0E+00"), words.number("7.731942E+06"), words.number("TABLE E")
        (True, True, False)
        """
        found = _WHOLE.match(text)
        whole = found[1] if found else ""
        date = whole[:_DATE_DIGITS] if len(whole) in _INSTANT_DIGITS else ""
        moved = f"{abs(float(text)):.0f}" if _WITH_EXPONENT.match(text) else ""
        return bool(self.numbers) and not self.numbers.isdisjoint((whole, whole.lstrip("0"), date, moved))


NOBODY = IdentifyingWords()


def identifying_words(instance: Instance) -> IdentifyingWords:
    """The words of an instance: names of every element of VR PN and the identifiers of the table.

    Sequences are searched too, but for the functional groups of single frames, which are many and name nobody anew.
    """
    character_sets = instance.texts("SpecificCharacterSet")
    station = "".join(_SEPARATORS.split(instance.text("StationName").upper()))
    parts: list[list[str]] = []
    identifiers: set[str] = set()
    for element in _all(instance.elements.values()):
        if element.vr != b"PN" and element.tag not in _IDENTIFIERS:
            continue
        raw = instance.buffer[element.start : element.end]
        if element.vr == b"PN":
            for name in {one for text in _in_unicode(raw, character_sets) for one in _in_ascii(text)}:
                parts += _parts(name) if element.tag >> 16 == _PATIENT_GROUP else _staff_parts(name, station)
        else:
            values = [one.strip(" \0") for one in raw.decode("latin-1").upper().split("\\")]
            identifiers.update(values)
            if element.tag in _PATIENT_IDENTIFIERS:
                # One without a digit is a name: `DOE^JOHN`.
                without_digit = (one for one in values if not any(map(str.isdigit, one)))
                parts += [part for one in without_digit for part in _parts(one)]
    joined = {"".join(_SEPARATORS.split(one)) for one in identifiers}
    joined |= {written for one in joined for written in _otherwise(one)}
    joined = {one for one in joined if len(one) >= _SHORTEST_IDENTIFIER}
    runs = {run for one in identifiers | joined for run in _NUMBERS.findall(one)}
    numbers = runs | {run.lstrip("0") for run in runs if len(run.lstrip("0")) >= _SHORTEST_WITHIN}
    single = frozenset(part for name in parts for part in name if len(part) >= _SHORTEST_NAME)
    names = single.union(_joined(parts), joined, numbers) - _HARMLESS
    within = tuple(sorted(one for one in names if len(one) >= _SHORTEST_WITHIN))
    return IdentifyingWords(single, names, within, frozenset(numbers))


def _all(elements: Iterable[Element]) -> Iterator[Element]:
    for element in elements:
        if element.items is None:
            yield element
        elif element.tag != _PER_FRAME:
            for item in element.items:
                yield from _all(item)


def _in_unicode(raw: bytes, character_sets: Sequence[str]) -> Iterator[str]:
    """A name as its character set reads it, and as another would where the sender may have declared the wrong one."""
    text = in_unicode(raw, character_sets)
    yield text
    if _ESCAPE in raw:
        return
    if REPLACED in text:
        yield raw.decode("latin-1")
    elif not text.isascii():
        yield raw.decode("utf-8", "replace")


def _in_ascii(text: str) -> Iterator[str]:
    """A name as a keyboard without its letters writes it: without accents, and in the north with a second vowel.

    >>> sorted(set(_in_ascii("Müller"))), sorted(set(_in_ascii("Søłby")))
    (['MUELLER', 'MULLER'], ['SOELBY', 'SOLBY'])
    """
    upper = text.upper()
    for written in {upper, upper.translate(_NORTHERN)}:
        yield unicodedata.normalize("NFKD", written.translate(_PLAIN)).translate(_ACCENTS)


def _parts(text: str) -> list[list[str]]:
    """The parts of each name of a PN value, without those of an ideographic or a phonetic writing."""
    return [[part for part in _SEPARATORS.split(name) if part.isascii()] for name in re.split(r"[\\=]", text)]


def _staff_parts(text: str, station: str) -> list[list[str]]:
    """The same of staff, who is often entered as the workstation: `CT2`, `CT-NORTH-02`.

    A part with a digit names nobody, nor does any part of a name with a digit that is the station's own.
    """
    names = [name for name in _parts(text) if "".join(name) != station or station.isalpha()]
    return [[part for part in name if part.isalpha()] for name in names]


def _otherwise(date: str) -> tuple[str, ...]:
    """A date (DA) with the day first, and with the month first; nothing of what is none.

    >>> _otherwise("19520314"), _otherwise("MZ773194")
    (('14031952', '03141952'), ())
    """
    found = _DATE.match(date)
    return (found[3] + found[2] + found[1], found[2] + found[3] + found[1]) if found else ()


def _joined(parts: Iterable[list[str]]) -> Iterator[str]:
    """Neighbouring parts written as one word, and an initial with a part; two initials alone are nobody's."""
    for name in parts:
        for one, other in pairwise(part for part in name if part):
            joined = (one + other, other + one, one[0] + other, other[0] + one, one + other[0], other + one[0])
            yield from (word for word in joined if len(word) > _TWO_INITIALS)
