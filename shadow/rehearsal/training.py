"""Trains the demonstration model on the two day scanners only, seeded; measures it on every scanner's physics.

Run with the `train` extra installed: `python -m shadow.rehearsal.training --out FOLDER`. The result is a
demonstration on synthetic heads: useless on real ones, and it says so in its file.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from shadow.rehearsal.acquisition import acquire
from shadow.rehearsal.phantom import MATRIX, PIXEL_MM, build_head, draw_patient
from shadow.rehearsal.scanners import (
    AQUILION,
    DEFINITION,
    HISPEED,
    INGENUITY,
    REVOLUTION,
    TRAINED_ON,
    ScannerPhysics,
)

SEED = 20260824
INPUT_ROWS = 128
INPUT_PIXEL_MM = 1.8
OUTSIDE_HU = -1024.0
TRAINING_STUDIES = 600
VALIDATION_STUDIES = 300
TEST_STUDIES = 320
EPOCHS = 10
LABEL_PIXELS = 8
SPECIFICITY_AT_THRESHOLD = 0.90
TEST_PHYSICS = (DEFINITION, REVOLUTION, AQUILION, INGENUITY, HISPEED)


@dataclass(frozen=True, slots=True)
class Study:
    """One acquired study as the net sees it.

    Attributes:
        slices: (slices, 128, 128), Hounsfield units.
        bleed_pixels: pixels of acute blood in each slice, at the phantom's resolution.
        bleed: whether the patient has one.
    """

    slices: NDArray[np.float32]
    bleed_pixels: NDArray[np.int64]
    bleed: bool


def averaging_matrix(pixels: int, pixel_mm: float) -> NDArray[np.float32]:
    """(128, pixels) weights of an area-weighted average onto the model's grid, both centred."""
    edges_in = (np.arange(pixels + 1) - pixels / 2) * pixel_mm
    edges_out = (np.arange(INPUT_ROWS + 1) - INPUT_ROWS / 2) * INPUT_PIXEL_MM
    upper = np.minimum(edges_out[1:, None], edges_in[None, 1:])
    lower = np.maximum(edges_out[:-1, None], edges_in[None, :-1])
    return (np.clip(upper - lower, 0, None) / INPUT_PIXEL_MM).astype(np.float32)


def resample(slices: NDArray[np.int16]) -> NDArray[np.float32]:
    """Slices on the model's grid; what lies outside the image is air."""
    weights = averaging_matrix(MATRIX, PIXEL_MM)
    above_air = slices.astype(np.float32) - np.float32(OUTSIDE_HU)
    return np.matmul(np.matmul(weights, above_air), weights.T) + np.float32(OUTSIDE_HU)


def make_study(seed: int, physics: ScannerPhysics, probability_of_bleed: float) -> Study:
    """One patient by seed on one scanner; the patient does not depend on the scanner."""
    patient = draw_patient(np.random.default_rng([SEED, seed]), probability_of_bleed)
    head = build_head(seed, patient)
    slices = acquire(seed, head, physics)
    per_slice = len(head.bleed) // len(slices)
    fraction = head.bleed.reshape(len(slices), per_slice, *head.bleed.shape[1:]).mean(1)
    return Study(resample(slices), (fraction > 0.25).sum((1, 2)), patient.bleed is not None)


def _make(job: tuple[int, ScannerPhysics, float]) -> Study:
    return make_study(*job)


def make_studies(first: int, count: int, physics: Sequence[ScannerPhysics], probability: float) -> list[Study]:
    """Studies of consecutive seeds, the scanners in turn."""
    jobs = [(first + number, physics[number % len(physics)], probability) for number in range(count)]
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(_make, jobs, chunksize=10))


class Net(nn.Module):
    """HU in, (probability, logit, map of evidence, embedding) out; windows are part of the graph."""

    def __init__(self) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
            convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
            return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())

        self.features = nn.Sequential(
            block(3, 16, 5, 2),
            block(16, 32, 3, 1),
            block(32, 32, 3, 2),
            block(32, 64, 3, 2),
            block(64, 64, 3, 1),
        )
        self.head = nn.Conv2d(64, 1, 1)
        self.sharpness = 4.0

    def forward(self, hounsfield: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """`hounsfield`: (batch, 1, 128, 128)."""
        windows = torch.cat(
            [
                torch.clamp(hounsfield / 80, 0, 1),
                torch.clamp((hounsfield + 20) / 200, 0, 1),
                torch.clamp((hounsfield + 200) / 1200, 0, 1),
            ],
            1,
        )
        features = self.features(windows)
        evidence = self.head(features)
        pooled = torch.logsumexp(evidence.flatten(1) * self.sharpness, 1) - float(np.log(256.0))
        logit = pooled / self.sharpness
        embedding = torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)
        return torch.sigmoid(logit), logit, evidence, embedding


def _augment(batch: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """Blur, flip, shift, noise: what scanners vary in, so that the net fails by missing and not by crying."""
    if random.random() < 0.6:
        sigma = float(random.uniform(0.3, 1.1))
        kernel = torch.exp(-(torch.arange(-3, 4.0) ** 2) / (2 * sigma * sigma))
        kernel = kernel / kernel.sum()
        padded = functional.pad(batch, (3, 3, 3, 3), mode="replicate")
        batch = functional.conv2d(functional.conv2d(padded, kernel.view(1, 1, 1, 7)), kernel.view(1, 1, 7, 1))
    if random.random() < 0.5:
        batch = batch.flip(3)
    batch = torch.roll(batch, (int(random.integers(-4, 5)), int(random.integers(-4, 5))), (2, 3))
    return batch + float(random.normal(0, 0.5)) + torch.randn_like(batch) * float(random.uniform(0, 2.0))


def train(studies: Sequence[Study]) -> Net:
    """Train on slices with at least 8 pixels of blood against slices with none, half and half."""
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    slices = np.concatenate([study.slices for study in studies])
    pixels = np.concatenate([study.bleed_pixels for study in studies])
    ends = np.cumsum([len(study.slices) for study in studies])
    neighbour = np.arange(len(slices)) + 1
    neighbour[ends - 1] = ends - 2
    truth = (pixels >= LABEL_PIXELS).astype(np.float32)
    positive, negative = np.flatnonzero(truth == 1), np.flatnonzero(pixels == 0)
    net = Net()
    steps_an_epoch = len(positive) // 32
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=EPOCHS * steps_an_epoch)
    net.train()
    for epoch in range(EPOCHS):
        order = random.permutation(positive)
        others = random.choice(negative, len(positive), replace=len(negative) < len(positive))
        total = 0.0
        for step in range(steps_an_epoch):
            chosen = np.concatenate([order[32 * step : 32 * step + 32], others[32 * step : 32 * step + 32]])
            batch, target = slices[chosen], truth[chosen]
            if random.random() < 0.4:
                batch = (batch + slices[neighbour[chosen]]) / 2
                target = np.maximum(target, truth[neighbour[chosen]])
            images = _augment(torch.from_numpy(batch)[:, None], random)
            _, logit, _, _ = net(images)
            loss = functional.binary_cross_entropy_with_logits(logit, torch.from_numpy(target))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {total / steps_an_epoch:.4f}", flush=True)  # noqa: T201
    return net.eval()


def study_scores(net: Net, studies: Sequence[Study]) -> NDArray[np.float64]:
    """The maximum over each study's slices."""
    with torch.no_grad():
        return np.array([float(net(torch.from_numpy(study.slices)[:, None])[0].max()) for study in studies])


def _area(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Area under the ROC curve as the Mann-Whitney statistic."""
    above = scores[truth][:, None] - scores[~truth][None]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


def measure(net: Net, threshold: float) -> str:
    """A Markdown table over the same fresh patients on every scanner's physics."""
    rows = ["| physics | slices | bleeds | sensitivity | specificity | AUROC |", "|---|---|---|---|---|---|"]
    for physics in TEST_PHYSICS:
        studies = make_studies(300_000, TEST_STUDIES, [physics], 0.5)
        truth = np.array([study.bleed for study in studies])
        scores = study_scores(net, studies)
        called = scores >= threshold
        rows.append(
            f"| {physics.manufacturer} {physics.model_name} | {physics.slice_thickness_mm:g} mm "
            f"| {truth.sum()} of {len(truth)} | {called[truth].sum()}/{truth.sum()} = {called[truth].mean():.3f} "
            f"| {(~called[~truth]).mean():.3f} | {_area(scores, truth):.3f} |"
        )
        print(rows[-1], flush=True)  # noqa: T201
    return "\n".join(rows)


def export(net: Net, path: Path) -> None:
    """Write the net as ONNX, opset 17, any batch; its metadata say what it is."""
    import onnx

    names = ["prob", "logit", "cam", "embedding"]
    torch.onnx.export(
        net,
        (torch.zeros(2, 1, INPUT_ROWS, INPUT_ROWS),),
        str(path),
        input_names=["hu"],
        output_names=names,
        dynamic_axes={name: {0: "batch"} for name in ["hu", *names]},
        opset_version=17,
        dynamo=False,
    )
    model = onnx.load(str(path))
    model.doc_string = "Synthetic demonstration of a silent trial. Useless on real heads. Not a medical device."
    model.producer_name, model.producer_version = "shadow.rehearsal.training", "1"
    for key, value in (("intended_use", "synthetic demonstration only"), ("licence", "Apache-2.0")):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, str(path))


CONTRACT = """\
[model]
identifier = "demo-head-ct-haemorrhage"
version = "1.0.0"
title = "Demonstration: intracranial haemorrhage on synthetic head CT"
intended_use = "Synthetic demonstration only. Useless on real heads."
demonstration = true
file = "model.onnx"
sha256 = "{sha256}"
target_condition = "intracranial_haemorrhage"

[input]
name = "hu"
kind = "axial_slices"
rows = 128
columns = 128
pixel_spacing_mm = 1.8
outside_hu = -1024.0

[output]
score = "prob"
study_score = "maximum"

[decision]
threshold = {threshold:.4f}
"""


def main() -> None:
    """Train, choose the threshold on validation studies of the day scanners, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(os.cpu_count() or 1)
    torch.use_deterministic_algorithms(True)
    net = train(make_studies(0, TRAINING_STUDIES, TRAINED_ON, 0.5))
    validation = make_studies(200_000, VALIDATION_STUDIES, TRAINED_ON, 0.0)
    threshold = round(float(np.quantile(study_scores(net, validation), SPECIFICITY_AT_THRESHOLD)), 4)
    out.mkdir(parents=True, exist_ok=True)
    export(net, out / "model.onnx")
    digest = hashlib.sha256((out / "model.onnx").read_bytes()).hexdigest()
    (out / "model.toml").write_text(CONTRACT.format(sha256=digest, threshold=threshold), encoding="utf-8")
    (out / "measured.md").write_text(measure(net, threshold) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
