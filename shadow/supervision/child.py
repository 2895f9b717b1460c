"""The first code that runs in every supervised process: it prepares the process and becomes the command.

Run by path, isolated and without site packages (15 ms), so that nothing has to run between fork and exec of
a process that has threads. It resets what a parent hands down by accident (signal mask, ignored signals),
asks the kernel for a signal when the supervising thread dies, and gives up root where it is told to.

Linux only: prctl(2), capabilities(7).
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_CHILD_SUBREAPER = 36
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Word(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def prctl(option: int, *arguments: int) -> None:
    """Ask the kernel for an attribute of this process (Linux manual, section 2).

    Raises:
        OSError: the kernel refused.
    """
    library = ctypes.CDLL(None, use_errno=True)
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    if library.prctl(option, *padded) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def drop_root(user: int, group: int, capability: int | None) -> None:
    """Become another user for good, keeping at most one capability, also across exec.

    The capability is the right to pass folders that the user could not enter otherwise: a trial's folder may
    lie below a folder of root, and PostgreSQL refuses to run as root.
    """
    if capability is not None:
        prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([group])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    if capability is None:
        return
    words = (_Word * 2)()
    bit = 1 << (capability % 32)
    words[capability // 32] = _Word(bit, bit, bit)
    header = _Header(CAPABILITY_VERSION_3, 0)
    if ctypes.CDLL(None, use_errno=True).capset(ctypes.byref(header), words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def main() -> None:
    """Prepare this process as the arguments say, then become the command after `--`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--death-signal", type=int, required=True)
    parser.add_argument("--user", type=int)
    parser.add_argument("--group", type=int)
    parser.add_argument("--capability", type=int)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.umask(0o077)
    if options.user is not None:
        drop_root(options.user, options.group, options.capability)
    prctl(PR_SET_PDEATHSIG, options.death_signal)  # after the change of user, which clears it
    if os.getppid() != options.parent:
        sys.exit(0)  # the supervisor died before the kernel was asked
    os.execvp(options.command[0], options.command)  # noqa: S606 - becoming the command is the point


if __name__ == "__main__":
    main()
