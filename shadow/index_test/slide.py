"""Whole-slide images to a model's tiles: the level that fits, tissue alone (PS3.3 A.32.8, C.8.12.4).

A slide is a pyramid: each instance is one level, its frames are the tiles of that level. The model's tiles are cut
from the level whose pixels are nearest to the wanted size and not coarser; glass without tissue is left out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from shadow.domain.errors import NotEvaluable
from shadow.index_test.decoder import MAXIMUM_FRAME_BYTES, pool
from shadow.index_test.instance import Instance
from shadow.index_test.pixels import Floats
from shadow.index_test.series import SeriesVerdict, Verdict
from shadow.index_test.sop_classes import SLIDES
from shadow.index_test.volume import Volume, resample_slices

COARSEST = 1.1
"""A level may have pixels so many times as large as wanted, and no larger."""
GLASS = 0.86
"""A tile whose darkest channel is brighter than this on average is glass."""
MAXIMUM_TILES = 4096
MAXIMUM_FRAMES, MAXIMUM_REGIONS = 1 << 20, 1 << 22
"""Of one level: a slide of 20 mm x 20 mm at 0.1 um has a quarter of either. Headers may say anything."""
FRAMES_KEPT, BYTES_KEPT = 64, 1 << 28


@dataclass(frozen=True, slots=True)
class Tiles:
    """A slide as one input.

    Attributes:
        tiles: float32 (tiles, 3, rows, columns), red, green and blue within 0 and 1.
        series_key: of the level.
        verdicts: every level's.
        findings: `tiles_left_out` where there was more tissue than the model is given.
    """

    tiles: Floats
    series_key: str
    verdicts: tuple[SeriesVerdict, ...]
    findings: tuple[str, ...]


@dataclass(slots=True)
class _Level:
    """One instance of the pyramid."""

    instance: Instance
    rows: int
    columns: int
    tile_rows: int
    tile_columns: int
    spacing_mm: tuple[float, float]
    places: dict[tuple[int, int], int]
    decoded: OrderedDict[int, np.ndarray] = field(default_factory=OrderedDict)

    def region_size(self, rows: int, columns: int, pixel_spacing_mm: float) -> tuple[int, int]:
        """Height and width in pixels of what becomes one tile of the model."""
        row_mm, column_mm = self.spacing_mm
        return max(1, round(rows * pixel_spacing_mm / row_mm)), max(1, round(columns * pixel_spacing_mm / column_mm))

    def can_be_cut(self, height: int, width: int) -> bool:
        """Whether regions of this size, and how many there are, are those of a slide."""
        regions = -(-self.rows // height) * -(-self.columns // width)
        return regions <= MAXIMUM_REGIONS and height * width * 3 <= MAXIMUM_FRAME_BYTES

    def has_tiles(self, top: int, left: int, height: int, width: int) -> bool:
        """Whether there is anything but white in a region."""
        return any(
            (row, column) in self.places
            for row in range(top // self.tile_rows, -(-(top + height) // self.tile_rows))
            for column in range(left // self.tile_columns, -(-(left + width) // self.tile_columns))
        )

    def region(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """uint8 (height, width, 3); white beyond the slide and where the level has no tile."""
        result = np.full((height, width, 3), 255, np.uint8)
        bottom, right = min(top + height, self.rows), min(left + width, self.columns)
        for tile_row in range(top // self.tile_rows, -(-bottom // self.tile_rows)):
            for tile_column in range(left // self.tile_columns, -(-right // self.tile_columns)):
                frame = self.places.get((tile_row, tile_column))
                if frame is None:
                    continue
                tile = self._frame(frame)
                y, x = tile_row * self.tile_rows, tile_column * self.tile_columns
                y0, y1 = max(top, y), min(bottom, y + self.tile_rows)
                x0, x1 = max(left, x), min(right, x + self.tile_columns)
                result[y0 - top : y1 - top, x0 - left : x1 - left] = tile[y0 - y : y1 - y, x0 - x : x1 - x]
        return result

    def _frame(self, index: int) -> np.ndarray:
        if index in self.decoded:
            self.decoded.move_to_end(index)
            return self.decoded[index]
        tile = pool().colours(self.instance.buffer, index)
        if tile.shape != (self.tile_rows, self.tile_columns, 3) or tile.dtype != np.uint8:
            raise NotEvaluable("unsupported_pixel_format", "a tile is not 8 bits of red, green and blue")
        self.decoded[index] = tile
        if len(self.decoded) > min(FRAMES_KEPT, max(BYTES_KEPT // tile.nbytes, 1)):
            self.decoded.popitem(last=False)
        return tile


def cut_tiles(instances: Sequence[Instance], rows: int, columns: int, pixel_spacing_mm: float) -> Tiles:
    """The tissue of a study's slides as tiles of `rows` x `columns` pixels of this size.

    Raises:
        NotEvaluable: `no_series_qualifies`, `no_tissue`, or what the pixels say.
    """
    levels, verdicts = [], []
    for instance in sorted(instances, key=lambda one: one.text("SOPInstanceUID")):
        found = _level(instance)
        refusal = found if isinstance(found, Verdict) else None
        if not isinstance(found, Verdict):
            if max(found.spacing_mm) > COARSEST * pixel_spacing_mm:
                refusal = Verdict.TOO_COARSE
            elif not found.can_be_cut(*found.region_size(rows, columns, pixel_spacing_mm)):
                refusal = Verdict.NO_GEOMETRY
            else:
                levels.append(found)
        verdicts.append((instance, refusal or Verdict.NOT_PREFERRED))
    if not levels:
        said = sorted({one.value for _, one in verdicts})
        raise NotEvaluable("no_series_qualifies", " ".join(said))
    # The coarsest of those fine enough: the fewest pixels to read. Of equals the largest, then by name.
    best = min(
        levels, key=lambda one: (-one.spacing_mm[0], -one.rows * one.columns, one.instance.text("SOPInstanceUID"))
    )
    tiles: list[Floats] = []
    left_out = False
    for tile in _tissue(best, rows, columns, pixel_spacing_mm):
        if len(tiles) == MAXIMUM_TILES:
            left_out = True
            break
        tiles.append(tile)
    if not tiles:
        raise NotEvaluable("no_tissue")
    return Tiles(
        np.stack(tiles),
        best.instance.text("SeriesInstanceUID"),
        tuple(
            SeriesVerdict(
                one.text("SeriesInstanceUID"),
                int(one.number("SeriesNumber") or 0),
                int(one.number("NumberOfFrames") or 1),
                None,
                Verdict.CHOSEN if one is best.instance else verdict,
            )
            for one, verdict in verdicts
        ),
        ("tiles_left_out",) if left_out else (),
    )


def _level(instance: Instance) -> _Level | Verdict:
    if instance.text("SOPClassUID") not in SLIDES:
        return Verdict.WRONG_SOP_CLASS
    kinds = [one.upper() for one in instance.texts("ImageType")]
    if "VOLUME" not in kinds or kinds[:1] not in (["ORIGINAL"], ["DERIVED"]):
        return Verdict.LOCALIZER
    if instance.text("BurnedInAnnotation").upper() == "YES" or instance.text("SpecimenLabelInImage").upper() == "YES":
        return Verdict.BURNED_IN
    sizes = [
        int(instance.number(keyword) or 0)
        for keyword in ("TotalPixelMatrixRows", "TotalPixelMatrixColumns", "Rows", "Columns")
    ]
    spacing = next(
        (
            one.numbers("PixelSpacing")
            for shared in instance.items("SharedFunctionalGroupsSequence")
            for one in shared.items("PixelMeasuresSequence")
        ),
        (),
    )
    if min(sizes) <= 0 or len(spacing) != 2 or min(spacing) <= 0:
        return Verdict.NO_GEOMETRY
    rows, columns, tile_rows, tile_columns = sizes
    if tile_rows * tile_columns * 3 > MAXIMUM_FRAME_BYTES or (instance.number("NumberOfFrames") or 1) > MAXIMUM_FRAMES:
        return Verdict.NO_GEOMETRY
    places = _places(instance, columns, tile_rows, tile_columns)
    return _Level(instance, rows, columns, tile_rows, tile_columns, (spacing[0], spacing[1]), places)


def _places(instance: Instance, columns: int, tile_rows: int, tile_columns: int) -> dict[tuple[int, int], int]:
    """Which frame holds the tile at which row and column of tiles."""
    frames = int(instance.number("NumberOfFrames") or 1)
    per_frame = instance.items("PerFrameFunctionalGroupsSequence")
    if instance.text("DimensionOrganizationType").upper() == "TILED_FULL" or not per_frame:
        across = -(-columns // tile_columns)
        return {divmod(frame, across): frame for frame in range(frames)}
    places: dict[tuple[int, int], int] = {}
    for frame, item in enumerate(per_frame[:frames]):
        for place in item.items("PlanePositionSlideSequence")[:1]:
            row = place.number("RowPositionInTotalImagePixelMatrix")
            column = place.number("ColumnPositionInTotalImagePixelMatrix")
            if row is not None and column is not None:
                places.setdefault((int(row - 1) // tile_rows, int(column - 1) // tile_columns), frame)
    return places


def _tissue(level: _Level, rows: int, columns: int, pixel_spacing_mm: float) -> Iterator[Floats]:
    """Float32 (3, rows, columns) tiles in reading order, glass left out."""
    row_mm, column_mm = level.spacing_mm
    height, width = level.region_size(rows, columns, pixel_spacing_mm)
    for top in range(0, level.rows, height):
        for left in range(0, level.columns, width):
            if not level.has_tiles(top, left, height, width):
                continue
            region = level.region(top, left, height, width)
            if float(region.min(axis=2).mean()) > GLASS * 255:
                continue
            channels: Floats = np.moveaxis(region, 2, 0).astype(np.float32) / np.float32(255)
            volume = Volume(channels, (row_mm, column_mm), (0.0, 0.0, 0.0), (), 0.0)
            tile: Floats = np.clip(resample_slices(volume, rows, columns, pixel_spacing_mm, 1.0), 0.0, 1.0)
            yield tile
