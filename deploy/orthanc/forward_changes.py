#!/usr/bin/env python3
"""Forwards every new instance of an Orthanc to the shadow receiver, and loses none.

Orthanc's own auto-routing in Lua tells nobody when a destination is down: the job ends as success and the image is
gone. This asks for Orthanc's change log instead, sends what is new, and moves its cursor, which is on disk, only
once the receiver has acknowledged. Runs beside Orthanc with Python 3.9 or later and nothing else.

    python3 forward_changes.py --orthanc http://127.0.0.1:8042 --modality shadow --cursor /var/lib/orthanc/shadow.cursor

A refusal (a full disk there, a restart) is tried again with growing pauses, for as long as it takes.
"""

import argparse
import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request

CHANGES_A_REQUEST = 100
LONGEST_PAUSE_SECONDS = 60.0


def call(base, path, user="", content=None):
    """One REST call; raises OSError or ValueError where it fails."""
    request = urllib.request.Request(base + path, None if content is None else json.dumps(content).encode())
    if user:
        request.add_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


def read_cursor(path):
    """The last change that was delivered, 0 before the first."""
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except FileNotFoundError:
        return 0


def write_cursor(path, last):
    """Durable on return."""
    part = path + ".part"
    with open(part, "w", encoding="ascii") as file:
        file.write(str(last))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def forward(arguments):
    """Deliver what is new since the cursor; returns how many instances."""
    last = read_cursor(arguments.cursor)
    changes = call(arguments.orthanc, f"/changes?since={last}&limit={CHANGES_A_REQUEST}", arguments.user)
    new = [one["ID"] for one in changes["Changes"] if one["ChangeType"] == "NewInstance"]
    present = [one for one in new if exists(arguments, one)]
    if present:
        order = {"Resources": present, "Synchronous": True, "Permissive": False, "Timeout": 60}
        call(arguments.orthanc, f"/modalities/{arguments.modality}/store", arguments.user, order)
    if changes["Last"] != last:
        write_cursor(arguments.cursor, changes["Last"])
    return len(present), changes["Done"]


def exists(arguments, instance):
    """Whether Orthanc still has the instance; one that was deleted must not block those behind it."""
    try:
        call(arguments.orthanc, f"/instances/{instance}/metadata", arguments.user)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            print(f"instance {instance} was deleted before it was forwarded", file=sys.stderr, flush=True)
            return False
        raise
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--orthanc", default="http://127.0.0.1:8042", help="its REST interface")
    parser.add_argument("--user", default=os.environ.get("ORTHANC_USER", ""), help="name:password, or ORTHANC_USER")
    parser.add_argument("--modality", default="shadow", help="the receiver's name in DicomModalities")
    parser.add_argument("--cursor", required=True, help="a file of this program's own, on a disk that lasts")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between looks while nothing is new")
    arguments = parser.parse_args()
    pause = arguments.every
    while True:
        try:
            delivered, done = forward(arguments)
            pause = arguments.every
            if delivered:
                print(f"delivered {delivered}", flush=True)
            if done:
                time.sleep(arguments.every)
        except (OSError, ValueError, KeyError) as error:
            print(
                f"not delivered, again in {pause:.0f} s: {type(error).__name__}: {error}", file=sys.stderr, flush=True
            )
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


if __name__ == "__main__":
    main()
