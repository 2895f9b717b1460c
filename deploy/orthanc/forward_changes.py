#!/usr/bin/env python3
"""Forwards every new instance of an Orthanc to the shadow receiver, and loses none.

Orthanc's own auto-routing in Lua tells nobody when a destination is down: the job ends as success and the image is
gone. This asks for Orthanc's change log instead, sends what is new, and moves its cursor, which is on disk, only
once the receiver has acknowledged. Runs beside Orthanc with Python 3.9 or later and nothing else.

    python3 forward_changes.py --orthanc http://127.0.0.1:8042 --modality shadow --cursor /var/lib/orthanc/shadow.cursor

A refusal (a full disk there, a restart) is tried again with growing pauses, for as long as it takes. One instance that
is refused while others are taken does not hold them up: it waits in `<cursor>.refused`, and is tried again every ten
minutes until it is taken or deleted. A cursor that cannot be read, or that lies beyond Orthanc's last change because
its database was replaced, starts again from the first change: the receiver knows what it has.
"""

import argparse
import base64
import http.client
import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request

CHANGES_A_REQUEST = 100
LONGEST_PAUSE_SECONDS = 60.0
SECONDS_BETWEEN_TRIES_OF_REFUSED = 600.0
SECONDS_FOR_AN_ANSWER = 300.0
FAILURES = (OSError, ValueError, KeyError, TypeError, http.client.HTTPException)
"""What a call raises where the other side is away, restarts in the midst of an answer, or answers something else."""


def call(base, path, user="", content=None, seconds=SECONDS_FOR_AN_ANSWER):
    """One REST call; raises OSError or ValueError where it fails."""
    request = urllib.request.Request(base + path, None if content is None else json.dumps(content).encode())
    if user:
        request.add_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
    with urllib.request.urlopen(request, timeout=seconds) as answer:
        return json.load(answer)


def say(what):
    """One line for the journal."""
    print(what, file=sys.stderr, flush=True)


def read_cursor(path):
    """The last change that was delivered, 0 before the first and where the file is damaged."""
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except FileNotFoundError:
        return 0
    except ValueError:
        os.replace(path, path + ".damaged")
        say(f"the cursor cannot be read; it is kept as {path}.damaged, and all of Orthanc is forwarded again")
        return 0


def write_durably(path, text):
    """Durable on return."""
    part = path + ".part"
    with open(part, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def read_refused(path):
    """The instances that were refused while others were taken, oldest first."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().split()
    except FileNotFoundError:
        return []


def start_of(arguments):
    """Where to go on; the first change where Orthanc's own log is shorter than the cursor."""
    last = read_cursor(arguments.cursor)
    if last > call(arguments.orthanc, "/changes?last", arguments.user)["Last"]:
        say("Orthanc's change log is shorter than the cursor: another database. All of it is forwarded again")
        return 0
    return last


def forward(arguments):
    """Deliver what is new since the cursor; returns how many instances, and whether that was all."""
    last = start_of(arguments)
    changes = call(arguments.orthanc, f"/changes?since={last}&limit={CHANGES_A_REQUEST}", arguments.user)
    new = [one["ID"] for one in changes["Changes"] if one["ChangeType"] == "NewInstance"]
    present = [one for one in new if exists(arguments, one)]
    delivered = len(present)
    if present:
        try:
            store(arguments, present)
        except (urllib.error.HTTPError, socket.timeout):  # noqa: UP041 (Python 3.9 tells it from TimeoutError)
            # One is refused, or all of them take longer than is waited for.
            delivered -= set_refused_aside(arguments, present)
    if changes["Last"] != read_cursor(arguments.cursor):
        write_durably(arguments.cursor, str(changes["Last"]))
    return delivered, changes["Done"]


def store(arguments, instances):
    """Have Orthanc send them; raises HTTPError where one of them is not taken, socket.timeout where it takes long."""
    order = {"Resources": instances, "Synchronous": True, "Permissive": False, "Timeout": 60}
    call(arguments.orthanc, f"/modalities/{arguments.modality}/store", arguments.user, order, arguments.timeout)


def set_refused_aside(arguments, instances):
    """Send them one by one; returns how many are refused.

    Raises HTTPError where neither one of them nor the newest instance is taken: nobody may be there.
    """
    refused, problem = [], None
    for number, one in enumerate(instances):
        try:
            store(arguments, [one])
        except urllib.error.HTTPError as error:
            refused.append(one)
            problem = error
            if len(refused) == number + 1 and not answers(arguments):
                raise  # the receiver is away: all of them wait
    if problem is not None and len(refused) == len(instances) and not takes_newest(arguments, refused):
        raise problem  # a full disk refuses all; what has nothing beside it waits for company
    if refused:
        known = read_refused(arguments.cursor + ".refused")
        write_durably(arguments.cursor + ".refused", "\n".join(dict.fromkeys(known + refused)) + "\n")
        say(f"{len(refused)} instances are refused while others are taken; they are tried again every ten minutes")
    return len(refused)


def takes_newest(arguments, refused):
    """Whether the newest instance beside these is taken, ahead of its turn: a study may be refused whole."""
    last = call(arguments.orthanc, "/changes?last", arguments.user)["Last"]
    since = max(0, last - CHANGES_A_REQUEST)
    changes = call(arguments.orthanc, f"/changes?since={since}&limit={CHANGES_A_REQUEST}", arguments.user)
    for one in reversed(changes["Changes"]):
        if one["ChangeType"] == "NewInstance" and one["ID"] not in refused and exists(arguments, one["ID"]):
            try:
                store(arguments, [one["ID"]])
            except urllib.error.HTTPError:
                return False
            return True
    return False


def answers(arguments):
    """Whether the receiver answers C-ECHO."""
    try:
        call(arguments.orthanc, f"/modalities/{arguments.modality}/echo", arguments.user, {})
    except urllib.error.HTTPError:
        return False
    return True


def try_refused(arguments):
    """Try those that were refused once more; what is taken or deleted leaves the list.

    No more than a tenth of the time goes into this, so that what is new does not wait; the others come first next time.
    """
    waiting = read_refused(arguments.cursor + ".refused")
    end = time.monotonic() + arguments.retry_refused / 10
    left = []
    for number, one in enumerate(waiting):
        if time.monotonic() >= end:
            left = waiting[number:] + left
            break
        try:
            if exists(arguments, one):
                store(arguments, [one])
        except urllib.error.HTTPError:
            left.append(one)
    if left != waiting:
        write_durably(arguments.cursor + ".refused", "".join(one + "\n" for one in left))
    if left:
        say(f"{len(left)} instances are still refused; they are listed in {arguments.cursor}.refused")


def exists(arguments, instance):
    """Whether Orthanc still has the instance; one that was deleted must not block those behind it."""
    try:
        call(arguments.orthanc, f"/instances/{instance}/metadata", arguments.user)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            say(f"instance {instance} was deleted before it was forwarded")
            return False
        raise
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--orthanc", default="http://127.0.0.1:8042", help="its REST interface")
    parser.add_argument("--user", default=os.environ.get("ORTHANC_USER", ""), help="name:password, or ORTHANC_USER")
    parser.add_argument("--modality", default="shadow", help="the receiver's name in DicomModalities")
    parser.add_argument("--cursor", required=True, help="a file of this program's own, on a disk that lasts")
    parser.add_argument("--timeout", type=float, default=SECONDS_FOR_AN_ANSWER, help="seconds for one delivery")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between looks while nothing is new")
    parser.add_argument(
        "--retry-refused", type=float, default=SECONDS_BETWEEN_TRIES_OF_REFUSED,
        help="seconds between tries of what is refused",
    )  # fmt: skip
    arguments = parser.parse_args()
    pause, tried_at = arguments.every, time.monotonic()
    while True:
        try:
            delivered, done = forward(arguments)
            pause = arguments.every
            if delivered:
                print(f"delivered {delivered}", flush=True)
            if time.monotonic() - tried_at >= arguments.retry_refused:
                tried_at = time.monotonic()
                try_refused(arguments)
            if done:
                time.sleep(arguments.every)
        except FAILURES as error:
            say(f"not delivered, again in {pause:.0f} s: {type(error).__name__}: {error}")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


if __name__ == "__main__":
    main()
