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
FINEST = 1 / 32
"""A level may have pixels so many times as large, and no smaller: one tile would take a gigabyte."""
GLASS = 0.86
"""A tile whose darkest channel is brighter than this on average is glass."""
MAXIMUM_TILES = 4096
MAXIMUM_GRID, MAXIMUM_REGIONS = 1 << 20, 1 << 22
"""Places for tiles, and regions to cut, of one level: a slide of 20 mm x 20 mm at 0.1 um has a quarter of either."""
FRAMES_KEPT, BYTES_KEPT = 64, 1 << 28


@dataclass(frozen=True, slots=True)
class Tiles:
    """A study's slides as one input.

    Attributes:
        tiles: float32 (tiles, 3, rows, columns), red, green and blue within 0 and 1.
        series_key: of the first slide's level.
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

    def region(self, top: int, left: int, height: int, width: int) -> np.ndarray | None:
        """uint8 (height, width, 3); white beyond the slide and where the level has no tile; None where it has none."""
        bottom, right = min(top + height, self.rows), min(left + width, self.columns)
        frames = [
            (tile_row * self.tile_rows, tile_column * self.tile_columns, frame)
            for tile_row in range(top // self.tile_rows, -(-bottom // self.tile_rows))
            for tile_column in range(left // self.tile_columns, -(-right // self.tile_columns))
            if (frame := self.places.get((tile_row, tile_column))) is not None
        ]
        if not frames:
            return None
        result = np.full((height, width, 3), 255, np.uint8)
        for y, x, frame in frames:
            tile = self._frame(frame)
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
    """The tissue of a study's slides as tiles of `rows` x `columns` pixels of this size, slide after slide.

    Levels of one Frame of Reference UID (0020,0052) are one slide (PS3.3 C.7.4.1).

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
            elif min(found.spacing_mm) < FINEST * pixel_spacing_mm:
                refusal = Verdict.TOO_FINE
            elif not found.can_be_cut(*found.region_size(rows, columns, pixel_spacing_mm)):
                refusal = Verdict.NO_GEOMETRY
            else:
                levels.append(found)
        verdicts.append((instance, refusal or Verdict.NOT_PREFERRED))
    if not levels:
        said = sorted({one.value for _, one in verdicts})
        raise NotEvaluable("no_series_qualifies", " ".join(said))
    chosen = _best_levels(levels)
    tiles: list[Floats] = []
    left_out = False
    for tile in (tile for level in chosen for tile in _tissue(level, rows, columns, pixel_spacing_mm)):
        if len(tiles) == MAXIMUM_TILES:
            left_out = True
            break
        tiles.append(tile)
    if not tiles:
        raise NotEvaluable("no_tissue")
    read = [one.instance for one in chosen]
    return Tiles(
        np.stack(tiles),
        read[0].text("SeriesInstanceUID"),
        tuple(
            SeriesVerdict(
                one.text("SeriesInstanceUID"),
                int(one.number("SeriesNumber") or 0),
                int(one.number("NumberOfFrames") or 1),
                None,
                Verdict.CHOSEN if any(one is other for other in read) else verdict,
            )
            for one, verdict in verdicts
        ),
        ("tiles_left_out",) if left_out else (),
    )


def _best_levels(levels: Sequence[_Level]) -> list[_Level]:
    """Of each slide the coarsest level of those fine enough: the fewest pixels to read; of equals the largest."""
    slides: dict[str, list[_Level]] = {}
    for level in levels:
        slide = level.instance.text("FrameOfReferenceUID") or level.instance.text("SeriesInstanceUID")
        slides.setdefault(slide, []).append(level)
    return [
        min(one, key=lambda level: (-level.spacing_mm[0], -level.rows * level.columns, _name(level)))
        for _, one in sorted(slides.items())
    ]


def _name(level: _Level) -> str:
    return level.instance.text("SOPInstanceUID")


def _level(instance: Instance) -> _Level | Verdict:
    if instance.text("SOPClassUID") not in SLIDES:
        return Verdict.WRONG_SOP_CLASS
    kinds = [one.upper() for one in instance.texts("ImageType")]
    if "VOLUME" not in kinds or kinds[:1] not in (["ORIGINAL"], ["DERIVED"]):
        return Verdict.LOCALIZER
    if instance.text("BurnedInAnnotation").upper() == "YES" or instance.text("SpecimenLabelInImage").upper() == "YES":
        return Verdict.BURNED_IN
    if (instance.number("SamplesPerPixel"), instance.number("BitsAllocated")) != (3, 8):
        return Verdict.NOT_COLOUR
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
    if tile_rows * tile_columns * 3 > MAXIMUM_FRAME_BYTES or (instance.number("NumberOfFrames") or 1) > MAXIMUM_GRID:
        return Verdict.NO_GEOMETRY
    places = _places(instance, -(-rows // tile_rows), -(-columns // tile_columns), tile_rows, tile_columns)
    if places is None:
        return Verdict.NO_GEOMETRY
    return _Level(instance, rows, columns, tile_rows, tile_columns, (spacing[0], spacing[1]), places)


def _places(
    instance: Instance, down: int, across: int, tile_rows: int, tile_columns: int
) -> dict[tuple[int, int], int] | None:
    """Which frame holds the tile at which row and column of tiles; the first of several focal planes or optical paths.

    In a sparse level the first is that of the lowest dimension indices: the order of its frames means nothing.

    None where it cannot be told: a part of a concatenation (PS3.3 C.7.6.16.2.2.4), a full grid with too few frames,
    a frame of a sparse one that says no place or lies between the places (PS3.3 C.7.6.17.3).
    """
    frames, grid = int(instance.number("NumberOfFrames") or 1), down * across
    if grid > MAXIMUM_GRID or instance.text("ConcatenationUID"):
        return None
    organisation = instance.text("DimensionOrganizationType").upper()
    per_frame = instance.items("PerFrameFunctionalGroupsSequence")
    if organisation == "TILED_FULL" or not (per_frame or organisation):
        return {divmod(frame, across): frame for frame in range(grid)} if frames >= grid else None
    if len(per_frame) != frames:
        return None
    places: dict[tuple[int, int], tuple[tuple[float, ...], int]] = {}
    shared = instance.items("SharedFunctionalGroupsSequence")
    for frame, item in enumerate(per_frame):
        said = [place for group in (item, *shared) for place in group.items("PlanePositionSlideSequence")]
        row = said[0].number("RowPositionInTotalImagePixelMatrix") if said else None
        column = said[0].number("ColumnPositionInTotalImagePixelMatrix") if said else None
        if row is None or column is None or (row - 1) % tile_rows or (column - 1) % tile_columns:
            return None
        place = int(row - 1) // tile_rows, int(column - 1) // tile_columns
        rank = next((one.numbers("DimensionIndexValues") for one in item.items("FrameContentSequence")), ()), frame
        places[place] = min(places.get(place, rank), rank)
    return {place: frame for place, (_, frame) in places.items()}


def _tissue(level: _Level, rows: int, columns: int, pixel_spacing_mm: float) -> Iterator[Floats]:
    """Float32 (3, rows, columns) tiles in reading order, glass left out."""
    row_mm, column_mm = level.spacing_mm
    height, width = level.region_size(rows, columns, pixel_spacing_mm)
    for top in range(0, level.rows, height):
        for left in range(0, level.columns, width):
            region = level.region(top, left, height, width)
            if region is None or float(region.min(axis=2).mean()) > GLASS * 255:
                continue
            channels: Floats = np.moveaxis(region, 2, 0).astype(np.float32) / np.float32(255)
            volume = Volume(channels, (row_mm, column_mm), (0.0, 0.0, 0.0), (), 0.0)
            tile: Floats = np.clip(resample_slices(volume, rows, columns, pixel_spacing_mm, 1.0), 0.0, 1.0)
            yield tile
