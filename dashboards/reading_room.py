"""The reading room behind its page: which study a person holds, and the route that serves its images.

A study goes by a random token that is valid for one person. Its key never reaches the browser, so nobody can look
up elsewhere what a model or a report said of it.
"""

from __future__ import annotations

import gzip
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow.parquet as pq
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from dashboards import installation
from dashboards.gate import SESSION_HEADER
from shadow.adjudication.images import StudyImages
from shadow.assessment.snapshot_file import read_current
from shadow.domain.home import Home
from shadow.store.accounts import Role, Session
from shadow.wiring.reading import Room as Room  # pages name its type
from shadow.wiring.reading import open_reading_room

READERS = (Role.REVIEWER, Role.SIGNER)
IMAGE_PATH = "/reading/{token}/{series:int}/{image:int}"
STUDIES_HELD = 4

_TOKENS: dict[str, tuple[str, str]] = {}
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Held:
    """The study that a person has before them."""

    token: str
    study_key: str
    images: StudyImages


def room() -> Room | None:
    """The trial's reading room; None where its protocol plans no blinded reading."""
    return _room_of(installation.home().root)


@lru_cache(maxsize=4)
def _room_of(root: Path) -> Room | None:
    home = Home(root)
    return open_reading_room(home, lambda: _reading_list(home))


def _reading_list(home: Home) -> list[str]:
    """As the newest snapshot names it; empty before the first."""
    published = read_current(home.snapshots)
    if published is None or not published.reading_list.exists():
        return []
    return [str(one) for one in pq.read_table(published.reading_list)["study_key"].to_pylist()]


def hold(reading_room: Room, session: Session, study_key: str) -> Held:
    """Give a person's browser the right to this study's images.

    Raises:
        ImagesMissing: its copies are not there.
    """
    images = _images(reading_room, study_key)
    with _LOCK:
        for token, (name, key) in _TOKENS.items():
            if (name, key) == (session.name, study_key):
                return Held(token, study_key, images)
        for token in [one for one, (name, _) in _TOKENS.items() if name == session.name]:
            del _TOKENS[token]
        token = secrets.token_urlsafe(16)
        _TOKENS[token] = (session.name, study_key)
    reading_room.desk.opened(session.name, study_key)
    return Held(token, study_key, images)


_HELD: OrderedDict[str, StudyImages] = OrderedDict()


def _images(reading_room: Room, study_key: str) -> StudyImages:
    """The images, kept for the studies that were asked for last."""
    with _LOCK:
        if study_key in _HELD:
            _HELD.move_to_end(study_key)
            return _HELD[study_key]
    images = reading_room.images(study_key)
    with _LOCK:
        _HELD[study_key] = images
        while len(_HELD) > STUDIES_HELD:
            _HELD.popitem(last=False)
    return images


async def serve_image(request: Request) -> Response:
    """One image as int16, little endian, row by row: to the person who holds the study, and to nobody else."""
    return await run_in_threadpool(_image, request)


def _image(request: Request) -> Response:
    identifier = request.headers.get(SESSION_HEADER.decode(), "")
    session = installation.accounts().session(identifier)
    name, study_key = _TOKENS.get(request.path_params["token"], ("", ""))
    reading_room = room()
    if session is None or session.role not in READERS or session.name != name or reading_room is None:
        return PlainTextResponse("Not here.", 404)
    series = _images(reading_room, study_key).series
    number, image = int(request.path_params["series"]), int(request.path_params["image"])
    if not number < len(series) or not image < len(series[number].values):
        return PlainTextResponse("Not here.", 404)
    body = gzip.compress(series[number].values[image].tobytes(), compresslevel=1)
    headers = {"content-encoding": "gzip", "cache-control": "private, no-store"}
    return Response(body, media_type="application/octet-stream", headers=headers)
