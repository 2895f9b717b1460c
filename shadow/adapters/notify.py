"""Tells the trial's informatics team that a group alarmed: by e-mail, by a webhook, or both.

Never towards the PACS, the worklist or a clinician: the addresses are those of the deployment file, and a text holds
the group's name and counts, no study and no patient.
"""

from __future__ import annotations

import json
import smtplib
import urllib.request
from collections.abc import Callable
from email.message import EmailMessage

from shadow.protocol.deployment import Notifications

TIMEOUT_SECONDS = 15.0


def channels(settings: Notifications) -> dict[str, Callable[[str, str], None]]:
    """The configured ways to tell, by name. Each takes a subject and a text, and raises OSError where it fails."""
    ways: dict[str, Callable[[str, str], None]] = {}
    if settings.webhook_url:
        ways["webhook"] = lambda subject, text: _post(settings.webhook_url, subject, text)
    if settings.mail_to:
        ways["mail"] = lambda subject, text: _mail(settings, subject, text)
    return ways


def _post(url: str, subject: str, text: str) -> None:
    content = json.dumps({"subject": subject, "text": text}).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})  # noqa: S310  checked on reading
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):  # noqa: S310
        pass


def _mail(settings: Notifications, subject: str, text: str) -> None:
    message = EmailMessage()
    message["Subject"], message["From"] = subject, settings.mail_from
    message["To"] = ", ".join(settings.mail_to)
    message.set_content(text)
    with smtplib.SMTP(settings.mail_host, settings.mail_port, timeout=TIMEOUT_SECONDS) as server:
        if settings.mail_starttls:
            server.starttls()
        server.send_message(message)
