from dataclasses import replace

import pytest
from head_ct import PSEUDONYMISER, ROOT, RULES, as_file, head_slice
from pydicom.dataset import Dataset

from shadow.domain.errors import NotEvaluable
from shadow.index_test.deidentify import deidentify_instance
from shadow.index_test.deidentify_values import DeidentificationContext
from shadow.index_test.instance import Instance, read_instance
from shadow.index_test.series import ChosenSeries, Verdict, choose_series


def series(number: str, slices: int = 8, **settings: object) -> list[Instance]:
    return [
        read_instance(as_file(head_slice(series=number, number=one, **settings)))  # type: ignore[arg-type]
        for one in range(1, slices + 1)
    ]


def verdicts(chosen: ChosenSeries) -> dict[str, str]:
    return {one.series_key.rpartition(".")[2]: one.verdict.value for one in chosen.verdicts}


def refusal(instances: list[Instance]) -> str:
    with pytest.raises(NotEvaluable) as caught:
        choose_series(instances, RULES)
    assert caught.value.reason == "no_series_qualifies"
    return caught.value.detail


def changed(keyword: str, value: object) -> dict[str, object]:
    def change(dataset: Dataset) -> None:
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)

    return {"change": change}


def test_the_series_nearest_to_the_preferred_thickness_feeds_the_model() -> None:
    chosen = choose_series(
        [*series("2", thickness=1.0), *series("3", thickness=4.0), *series("4", thickness=7.0)], RULES
    )
    assert chosen.series_key == f"{ROOT}.1.3"
    assert verdicts(chosen) == {"2": "not_preferred", "3": "chosen", "4": "not_preferred"}
    assert len(chosen.slices) == 8


@pytest.mark.parametrize(
    ("one", "two", "chosen"),
    [
        ({"thickness": 4.0}, {"thickness": 6.0, "slices": 9}, "3"),
        ({"thickness": 4.0}, {"thickness": 6.0}, "2"),
        ({"thickness": 5.0, "slices": 20}, {"thickness": 6.0}, "2"),
    ],
)
def test_a_tie_is_broken_by_slices_then_by_number(one: dict[str, object], two: dict[str, object], chosen: str) -> None:
    instances = [*series("2", **one), *series("3", **two)]  # type: ignore[arg-type]
    for ordered in (instances, instances[::-1]):
        assert choose_series(ordered, RULES).series_key == f"{ROOT}.1.{chosen}"


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, Verdict.LOCALIZER),
        ({"image_type": ("DERIVED", "PRIMARY", "AXIAL")}, Verdict.DERIVED),
        ({"image_type": ("ORIGINAL", "SECONDARY", "AXIAL")}, Verdict.DERIVED),
        ({"image_type": ("ORIGINAL", "PRIMARY", "AXIAL", "MPR")}, Verdict.DERIVED),
        ({"slices": 5}, Verdict.TOO_FEW_SLICES),
        ({"thickness": 10.5}, Verdict.TOO_THICK),
        (changed("SliceThickness", None), Verdict.NO_SLICE_THICKNESS),
        (changed("SliceThickness", "0"), Verdict.NO_SLICE_THICKNESS),
        (changed("BurnedInAnnotation", "YES"), Verdict.BURNED_IN),
        (changed("PhotometricInterpretation", "PALETTE COLOR"), Verdict.COLOUR),
        (changed("PhotometricInterpretation", "RGB"), Verdict.COLOUR),
        (changed("ImageOrientationPatient", None), Verdict.NO_GEOMETRY),
        (changed("ImagePositionPatient", None), Verdict.NO_GEOMETRY),
        (changed("ImageOrientationPatient", ["1", "0", "0", "1", "0", "0"]), Verdict.NO_GEOMETRY),
        (changed("PixelSpacing", None), Verdict.NO_PIXEL_SPACING),
        (changed("PixelSpacing", ["0", "0"]), Verdict.NO_PIXEL_SPACING),
        (changed("ImageOrientationPatient", ["1", "0", "0", "0", "0", "-1"]), Verdict.NOT_AXIAL),
        (changed("SOPClassUID", "1.2.840.10008.5.1.4.1.1.4"), Verdict.WRONG_SOP_CLASS),
    ],
)
def test_a_series_that_cannot_feed_the_model_is_named_with_its_reason(
    settings: dict[str, object], verdict: Verdict
) -> None:
    unfit = series("2", **settings)  # type: ignore[arg-type]
    assert refusal(unfit) == f"{verdict.value}=1"
    chosen = choose_series([*unfit, *series("3")], RULES)
    assert verdicts(chosen) == {"2": verdict.value, "3": "chosen"}


@pytest.mark.parametrize(
    "settings",
    [
        {"slices": 6},
        {"thickness": 10.0},
        {"image_type": ("ORIGINAL", "PRIMARY")},
        changed("ImageType", None),
        changed("PhotometricInterpretation", "MONOCHROME1"),
        changed("ImageOrientationPatient", ["1", "0", "0", "0", "0.866", "-0.5"]),
    ],
)
def test_a_series_just_inside_every_limit_is_chosen(settings: dict[str, object]) -> None:
    assert choose_series(series("2", **settings), RULES).verdicts[0].verdict is Verdict.CHOSEN  # type: ignore[arg-type]


def perfusion(number: str, places: int, phases: int) -> list[Instance]:
    """So many runs over the same few places, as contrast flows through."""

    def change(dataset: Dataset) -> None:
        run, place = divmod(int(dataset.InstanceNumber) - 1, places)
        dataset.AcquisitionNumber, dataset.ImagePositionPatient = str(run), ["-10", "-10", f"{50 + 5 * place}"]

    return series(number, slices=places * phases, change=change)


def test_many_images_of_few_places_are_no_head() -> None:
    head = series("3", slices=9)
    for places, verdict in ((4, "too_few_slices"), (8, "not_preferred")):
        chosen = choose_series([*perfusion("2", places, 5), *head], RULES)
        assert verdicts(chosen) == {"2": verdict, "3": "chosen"}
        assert f"images={5 * places} places={places} thickness=5" in chosen.verdicts[0].in_words()
    assert refusal(perfusion("2", 4, 5)) == "too_few_slices=1"


def test_a_perfusion_scan_of_a_wide_detector_does_not_outweigh_the_head_beside_it() -> None:
    for number in ("2", "4"):
        chosen = choose_series([*perfusion(number, 12, 3), *series("3", slices=9)], RULES)
        assert verdicts(chosen) == {number: "not_preferred", "3": "chosen"}
    assert choose_series(perfusion("2", 12, 3), RULES).verdicts[0].verdict is Verdict.CHOSEN


def test_a_scan_that_was_repeated_in_part_is_still_one_run() -> None:
    repeated = [*series("2", slices=12), *series("2", slices=20)[12:]]
    again = [
        read_instance(as_file(head_slice(series="2", number=number, position=5.0 * (number - 20))))
        for number in range(21, 31)
    ]
    chosen = choose_series([*repeated, *again, *series("3", slices=12)], RULES)
    assert verdicts(chosen) == {"2": "chosen", "3": "not_preferred"}


def test_a_head_in_two_tilts_is_one_run() -> None:
    tilted = changed("ImageOrientationPatient", ["1", "0", "0", "0", "0.9781", "0.2079"])
    halves = [*series("2", slices=10), *series("2", slices=20, **tilted)[10:]]  # type: ignore[arg-type]
    chosen = choose_series([*halves, *series("3", slices=9)], RULES)
    assert verdicts(chosen) == {"2": "chosen", "3": "not_preferred"}


def test_a_localizer_among_the_slices_is_left_out_of_its_series() -> None:
    localizer = read_instance(as_file(head_slice(number=40, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))))
    chosen = choose_series([localizer, *series("2")], RULES)
    assert len(chosen.slices) == chosen.verdicts[0].slices == 8


def test_a_study_without_any_image_has_no_series() -> None:
    assert refusal([]) == ""


def with_kernel(number: str, kernel: str, **settings: object) -> list[Instance]:
    return series(number, change=lambda one: setattr(one, "ConvolutionKernel", kernel), **settings)


def test_the_preferred_kernel_comes_before_the_preferred_thickness() -> None:
    study = [*with_kernel("2", "H60s", thickness=5.0), *with_kernel("3", "h30S", thickness=4.0)]
    assert choose_series(study, RULES).series_key == f"{ROOT}.1.2"
    ruled = replace(RULES, preferred_kernels=("H31s", "H30s"))
    assert choose_series(study, ruled).series_key == f"{ROOT}.1.3"
    unlisted = [*with_kernel("2", "H60s", thickness=4.0), *with_kernel("3", "H70s", thickness=5.0)]
    assert choose_series(unlisted, ruled).series_key == f"{ROOT}.1.3", "of those not listed, by thickness"


@pytest.mark.parametrize(
    ("preferred", "chosen"),
    [
        (("Hr40f\\3",), "4"),  # as the ledger shows it: the kernel with the strength of its iterations
        (("hr40F\\2", "Hr40f\\3"), "3"),
        (("Hr40f",), "3"),
        (("Hr40",), "2"),
        (("3",), "2"),
    ],
)
def test_a_kernel_of_several_values_is_preferred_by_its_first_or_all(preferred: tuple[str, ...], chosen: str) -> None:
    study = [
        *with_kernel("2", "H60s", thickness=5.0),
        *(image for number, strength in (("3", "2"), ("4", "3")) for image in iterated(number, strength)),
    ]
    assert choose_series(study, replace(RULES, preferred_kernels=preferred)).series_key == f"{ROOT}.1.{chosen}"


def iterated(number: str, strength: str) -> list[Instance]:
    return series(number, change=lambda one: setattr(one, "ConvolutionKernel", ["Hr40f", strength]))


def test_a_verdict_in_words_names_its_reason() -> None:
    words = [one.in_words() for one in choose_series([*series("2"), *series("3", slices=2)], RULES).verdicts]
    assert words == [
        f"{ROOT}.1.2 chosen number=2 images=8 thickness=5 kernel=H30s",
        f"{ROOT}.1.3 too_few_slices number=3 images=2 thickness=5 kernel=H30s",
    ]


@pytest.mark.parametrize(
    "image_type",
    [
        ("ORIGINAL", "PRIMARY", "VOLUME RENDERING"),
        ("ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"),
        ("ORIGINAL", "RESTORED"),
        ("RESTORED", "PRIMARY"),
        ("RESTORED",),
        ("ORIGINAL", "PRIMARY", "RESTORED"),
        ("ORIGINAL", "PRIMARY", "RESTORED", "MPR"),
    ],
)
def test_a_copy_is_judged_like_its_original_whatever_words_its_image_type_has(image_type: tuple[str, ...]) -> None:
    context = DeidentificationContext(PSEUDONYMISER, "P", "A", -7)
    originals = [*series("2"), *series("3", image_type=image_type)]
    copies = [read_instance(deidentify_instance(one, context)) for one in originals]
    judged, judged_copies = (
        [one.verdict for one in sorted(choose_series(instances, RULES).verdicts, key=lambda one: one.series_number)]
        for instances in (originals, copies)
    )
    assert judged_copies == judged
