"""JPEG Extended of 12 bits (1.2.840.10008.1.2.4.51) by GDCM, as a plugin of pydicom's decoder.

pydicom 3.0 gives this to no codec, though GDCM 3.2 decodes it to the same values as dcmtk: the tests hold them to it.
Old archives have lossy CT and CR in this form.
"""

from __future__ import annotations

import gdcm
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder
from pydicom.uid import JPEGExtended12Bit

DECODER_DEPENDENCIES = {JPEGExtended12Bit: ("gdcm>=3.2",)}
"""By this name pydicom looks for what a plugin needs."""


def register() -> None:
    """Offer the plugin to pydicom's decoder of this transfer syntax, in this process."""
    get_decoder(JPEGExtended12Bit).add_plugin("gdcm_12_bits", (__name__, "decode_frame"))


def is_available(uid: str) -> bool:
    """Whether the plugin decodes this transfer syntax; pydicom asks."""
    return uid in DECODER_DEPENDENCIES


def decode_frame(source: bytes, runner: DecodeRunner) -> bytes:
    """The stored values of one frame, little endian, as many bytes each as are allocated.

    Raises:
        ValueError: not one sample of 9 to 12 bits, or GDCM refuses the stream.
    """
    if runner.samples_per_pixel != 1 or not 8 < runner.bits_stored <= 12:
        raise ValueError("one sample of 9 to 12 bits only")
    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(source)
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((runner.columns, runner.rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    bits = runner.bits_stored
    image.SetPixelFormat(gdcm.PixelFormat(1, runner.bits_allocated, bits, bits - 1, runner.pixel_representation))
    decoded = image.GetBuffer()
    if decoded is None:
        raise ValueError("GDCM refuses the stream")
    # GDCM's wrapper gives the bytes of a char* as text.
    frame: bytes = decoded.encode("utf-8", "surrogateescape")
    return frame
