"""FHIR JSON to its resources, and the resources that one of them refers to in the same document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from shadow.domain.errors import MalformedMessage

MAXIMUM_DEPTH = 64
"""Arrays and objects within each other; the deepest resource of the published examples has fewer than 20."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource that stands by itself or in a Bundle's entry. `full_url` is empty where the entry has none."""

    content: Json
    full_url: str = ""


@dataclass(slots=True)
class Document:
    """The resources of one file, in its order.

    Attributes:
        resources: those of the first level, Bundles taken apart.
        unreadable: lines that are no JSON object, where the others are.
    """

    resources: list[Resource] = field(default_factory=list)
    unreadable: list[bytes] = field(default_factory=list)
    _by_url: dict[str, Json] = field(default_factory=dict)
    _by_name: dict[str, list[Json]] = field(default_factory=dict)

    def add(self, resource: Resource) -> None:
        """Take a resource in, so that others can refer to it."""
        self.resources.append(resource)
        if resource.full_url:
            self._by_url.setdefault(_without_version(resource.full_url), resource.content)
        kind, identifier = resource.content.get("resourceType"), resource.content.get("id")
        if isinstance(kind, str) and isinstance(identifier, str):
            self._by_name.setdefault(f"{kind}/{identifier}", []).append(resource.content)

    def referred(self, source: Resource, reference: Any, kind: str) -> Json | None:
        """The resource of this type that a Reference names: contained in `source`, or in the same document.

        None where it is neither; nothing is ever fetched. A relative reference starts from the base of the source's
        own URL (Bundle, "Resolving references in Bundles"), and names nothing where two resources bear the name.
        """
        name = reference.get("reference") if isinstance(reference, dict) else None
        if not isinstance(name, str) or not name:
            return None
        if name.startswith("#"):
            contained = objects(source.content.get("contained"))
            found = next((one for one in contained if one.get("id") == name[1:]), None)
        else:
            found = self._elsewhere(source, _without_version(name))
        return found if found is not None and found.get("resourceType") == kind else None

    def _elsewhere(self, source: Resource, name: str) -> Json | None:
        if ":" in name:
            return self._by_url.get(name)
        base = _without_version(source.full_url).rsplit("/", 2)[0]
        named = self._by_name.get(name, [])
        return self._by_url.get(f"{base}/{name}") or (named[0] if len(named) == 1 else None)


def read_document(content: bytes) -> Document:
    """The resources of a file: a resource, a Bundle (also within Bundles), or one of them a line.

    Raises:
        MalformedMessage: `xml_not_read`, `not_json`, or `nested_too_deep`.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedMessage("not_json", type(error).__name__) from error
    if text.lstrip()[:1] == "<":
        raise MalformedMessage("xml_not_read", "ask the sender for application/fhir+json")
    document = Document()
    for parsed in _parsed(text, document.unreadable):
        _refuse_depth(parsed)
        _take(document, parsed, "")
    return document


def objects(value: Any) -> list[Json]:
    """The objects of an array; a single object counts as one, anything else as none."""
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, dict)]


def _parsed(text: str, unreadable: list[bytes]) -> Iterator[Json]:
    whole = _object(text)
    if whole is not None:
        yield whole
        return
    # Only a line feed ends a line of NDJSON: a string may hold the separators that splitlines() knows besides.
    lines = [line for line in text.split("\n") if line.strip()]
    found = [(line, _object(line)) for line in lines] if len(lines) > 1 else []
    if all(one is None for _, one in found):
        raise MalformedMessage("not_json", "no JSON object")
    for line, one in found:
        if one is None:
            unreadable.append(line.encode())
        else:
            yield one


def _object(text: str) -> Json | None:
    """ValueError is also raised for numbers of too many digits."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refuse_depth(parsed: Json) -> None:
    level: list[Any] = [parsed]
    for _ in range(MAXIMUM_DEPTH):
        level = [
            value
            for one in level
            for value in (one.values() if isinstance(one, dict) else one)
            if isinstance(value, dict | list)
        ]
        if not level:
            return
    raise MalformedMessage("nested_too_deep", f"more than {MAXIMUM_DEPTH} levels")


def _take(document: Document, content: Json, full_url: str) -> None:
    if content.get("resourceType") != "Bundle":
        document.add(Resource(content, full_url))
        return
    for entry in objects(content.get("entry")):
        resource, url = entry.get("resource"), entry.get("fullUrl")
        if isinstance(resource, dict):
            _take(document, resource, url if isinstance(url, str) else "")


def _without_version(url: str) -> str:
    return url.split("/_history/", 1)[0]
