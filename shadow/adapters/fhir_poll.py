"""Asks FHIR servers for DiagnosticReports that are new (FHIR R4 and R5, search with _lastUpdated); it only reads.

What a server sends is on disk before the mark moves that says how far it was asked. The mark is the server's own time,
never ours, and each question goes back before it, because servers index late; what was seen already is not kept again.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from shadow.domain.clock import from_text, to_text
from shadow.domain.errors import ArchiveUnavailable
from shadow.protocol.deployment import FhirServer
from shadow.store.durable import write_durably

SECONDS_FOR_AN_ANSWER = 60.0
MAXIMUM_PAGE_BYTES = 64 << 20
MAXIMUM_PAGES = 10_000
LONGEST_PAUSE_SECONDS = 900.0
SEEN_KEPT = 20_000


class FhirPoller:
    """One server.

    Args:
        server: its address and how it is asked.
        home: what a relative token file starts from.
        mark: the file that says how far it was asked.
        since: where the first question begins.
        keep: makes a page durable; called before the mark moves.
    """

    def __init__(
        self, server: FhirServer, home: Path, mark: Path, since: datetime, keep: Callable[[bytes], None]
    ) -> None:
        self._server, self._mark, self._since, self._keep = server, mark, since, keep
        self._seen: dict[tuple[str, str], None] = {}
        self._headers = {"Accept": "application/fhir+json"}
        if server.token_file:
            token = (home / server.token_file).read_text(encoding="utf-8").strip()
            self._headers["Authorization"] = f"Bearer {token}"
        authorities = home / server.authorities if server.authorities else None
        self._trusted = ssl.create_default_context(cafile=authorities)
        self.pause_seconds = server.poll_seconds

    def poll(self) -> int:
        """Ask once; returns how many reports were new.

        Raises:
            ArchiveUnavailable: the server does not answer, or not with what was asked; the mark stays. The pause
                until the next question grows, or is what the server asks for.
            OSError: the disk refused; the mark stays.
        """
        begin = self._read_mark()
        new, newest = 0, begin
        with httpx.Client(
            base_url=self._server.url.rstrip("/") + "/",
            headers=self._headers,
            timeout=SECONDS_FOR_AN_ANSWER,
            trust_env=False,
            follow_redirects=False,
            verify=self._trusted,
        ) as client:
            address: str | None = self._question(begin)
            for _ in range(MAXIMUM_PAGES):
                if address is None:
                    break
                content = self._get(client, address)
                bundle = self._bundle(content)
                fresh = [one for one in _reports(bundle) if _version(one) not in self._seen]
                if fresh:
                    self._keep(content)
                    self._remember(fresh)
                    new += len(fresh)
                    newest = max([newest, *(at for at in map(_last_updated, fresh) if at is not None)])
                address = self._next(client, bundle)
            else:
                raise self._unavailable("sends pages without end")
        if newest > begin:
            write_durably(self._mark, json.dumps({"last_updated": to_text(newest)}).encode())
        self.pause_seconds = self._server.poll_seconds
        return new

    def _read_mark(self) -> datetime:
        try:
            return from_text(str(json.loads(self._mark.read_bytes())["last_updated"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return self._since

    def _question(self, begin: datetime) -> str:
        asked = (begin - timedelta(seconds=self._server.overlap_seconds)).astimezone(UTC)
        query: list[tuple[str, str | int | float | bool | None]] = [
            ("_lastUpdated", f"ge{asked:%Y-%m-%dT%H:%M:%SZ}"),
            ("_sort", "_lastUpdated"),
            ("_count", str(self._server.resources_a_page)),
            *(("_include", f"DiagnosticReport:{one}") for one in self._server.includes),
        ]
        if self._server.category:
            query.append(("category", self._server.category))
        return f"DiagnosticReport?{httpx.QueryParams(query)}"

    def _get(self, client: httpx.Client, address: str) -> bytes:
        try:
            with client.stream("GET", address) as answer:
                if answer.status_code != httpx.codes.OK:
                    self._wait_longer(answer.headers.get("Retry-After", ""))
                    raise self._unavailable(f"answered HTTP {answer.status_code}")
                content = bytearray()
                for chunk in answer.iter_bytes(1 << 20):
                    content += chunk
                    if len(content) > MAXIMUM_PAGE_BYTES:
                        raise self._unavailable(f"sent more than {MAXIMUM_PAGE_BYTES >> 20} MiB in a page")
                return bytes(content)
        except httpx.HTTPError as error:
            self._wait_longer("")
            raise self._unavailable(type(error).__name__) from error

    def _bundle(self, content: bytes) -> dict[str, Any]:
        try:
            bundle = json.loads(content)
        except (ValueError, RecursionError) as error:
            self._wait_longer("")
            raise self._unavailable("sent no JSON") from error
        if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
            self._wait_longer("")
            raise self._unavailable("sent no Bundle")
        return bundle

    def _next(self, client: httpx.Client, bundle: dict[str, Any]) -> str | None:
        """The next page, where it lies with the same server: no link leads us elsewhere."""
        links = bundle.get("link")
        for one in links if isinstance(links, list) else []:
            if isinstance(one, dict) and one.get("relation") == "next" and isinstance(one.get("url"), str):
                address = client.base_url.join(one["url"])
                if (address.scheme, address.host, address.port) != (
                    client.base_url.scheme,
                    client.base_url.host,
                    client.base_url.port,
                ):
                    raise self._unavailable("names a next page on another server")
                return str(address)
        return None

    def _remember(self, reports: list[dict[str, Any]]) -> None:
        self._seen.update(dict.fromkeys(map(_version, reports)))
        for old in list(self._seen)[: max(0, len(self._seen) - SEEN_KEPT)]:
            del self._seen[old]

    def _wait_longer(self, retry_after: str) -> None:
        longer = min(2 * self.pause_seconds, LONGEST_PAUSE_SECONDS)
        asked = float(retry_after) if retry_after.isdecimal() else 0.0
        self.pause_seconds = max(longer, min(asked, LONGEST_PAUSE_SECONDS))

    def _unavailable(self, what: str) -> ArchiveUnavailable:
        return ArchiveUnavailable(f"FHIR server of {self._server.site}: {what}")


def _reports(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    entries = bundle.get("entry")
    resources = [one.get("resource") for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
    return [one for one in resources if isinstance(one, dict) and one.get("resourceType") == "DiagnosticReport"]


def _version(resource: dict[str, Any]) -> tuple[str, str]:
    """A resource's id and the version that this is of it."""
    meta = resource.get("meta")
    said = meta if isinstance(meta, dict) else {}
    return str(resource.get("id", "")), str(said.get("versionId") or said.get("lastUpdated") or json.dumps(resource))


def _last_updated(resource: dict[str, Any]) -> datetime | None:
    meta = resource.get("meta")
    try:
        at = datetime.fromisoformat(str(meta.get("lastUpdated"))) if isinstance(meta, dict) else None
    except ValueError:
        return None
    return at.astimezone(UTC) if at is not None and at.tzinfo is not None else None
