"""Runs a command in namespaces of its own: `python -I -S isolate.py PLACE... -- COMMAND...`, where bubblewrap is not.

It imports nothing but the standard library. The command sees the PLACEs, to be read only, and an empty folder `/tmp`;
no network, no other process. It has no capabilities, and ends with this process. user_namespaces(7),
mount_namespaces(7), pid_namespaces(7) and mount_setattr(2) describe what is used.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import stat
import struct
import sys
from pathlib import Path

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
_CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 32, 4096, 16384, 1 << 18
_MS_RDONLY = 1
_MNT_DETACH = 2
_SYS_MOUNT_SETATTR = 442
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID = 1, 2
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_UID = 1000
"""Inside; not 0, so that the command has no capabilities."""
_ROOT = "/tmp"
"""Where the new root is put together."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_TMPFS = "mode=0755,size=64m"

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    """Call a function of the C library; OSError if it fails."""
    given = [word.encode() if isinstance(word, str) else word for word in arguments]
    if getattr(_libc, name)(*given) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _call("mount", source, target, kind, ctypes.c_ulong(flags), data)


def _unshare() -> None:
    user, group = os.getuid(), os.getgid()
    namespaces = _CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWPID | _CLONE_NEWNET
    _call("unshare", namespaces)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{_UID} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{_UID} {group} 1")


def _make_root(places: list[str]) -> None:
    """Make what holds nothing but the places the root of this process."""
    links = {place: os.readlink(place) for place in places if os.path.islink(place)}  # noqa: PTH114, PTH115
    # Opened before anything can hide them.
    opened = {p: os.open(p, os.O_PATH) for p in (*places, *_DEVICES) if p not in links and os.path.exists(p)}  # noqa: PTH110
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", _ROOT, "tmpfs", _MS_NOSUID | _MS_NODEV, _TMPFS)
    for place, fd in opened.items():
        target = Path(f"{_ROOT}{place}")
        is_folder = stat.S_ISDIR(os.fstat(fd).st_mode)
        (target if is_folder else target.parent).mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.touch()
        _mount(f"/proc/self/fd/{fd}", str(target), "", _MS_BIND | _MS_REC)
        if place not in _DEVICES:
            attributes = struct.pack("QQQQ", _MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID, 0, 0, 0)
            _call("syscall", _SYS_MOUNT_SETATTR, -1, str(target), _AT_RECURSIVE, attributes, len(attributes))
        os.close(fd)
    for place, target_of_link in links.items():
        Path(f"{_ROOT}{place}").parent.mkdir(parents=True, exist_ok=True)
        Path(f"{_ROOT}{place}").symlink_to(target_of_link)
    for folder in ("proc", "tmp"):
        Path(f"{_ROOT}/{folder}").mkdir(exist_ok=True)
    _mount("tmpfs", f"{_ROOT}/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, _TMPFS)
    with contextlib.suppress(OSError):  # containers that hide parts of theirs allow no other
        _mount("proc", f"{_ROOT}/proc", "proc", _MS_NOSUID | _MS_NODEV)
    _mount("none", _ROOT, "", _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)
    os.chdir(_ROOT)
    # The old root comes to lie over the new one, and is taken off.
    _call("pivot_root", ".", ".")
    _call("umount2", ".", _MNT_DETACH)
    os.chdir("/tmp")


def _run(places: list[str], command: list[str]) -> int:
    """The command's exit code."""
    _unshare()
    return _await(os.fork() or _be_first(places, command))


def _be_first(places: list[str], command: list[str]) -> int:
    """In the first process of the new namespace, which signals of its own do not end: run the command in a second."""
    code = 126
    try:
        _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _make_root(places)
        _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        pid = os.fork()
        if pid == 0:
            os.execv(command[0], command)
        code = _await(pid)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
    os._exit(code)


def _await(pid: int) -> int:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


def main(arguments: list[str]) -> int:
    """See the module."""
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    split = arguments.index("--")
    try:
        return _run(arguments[:split], arguments[split + 1 :])
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 126


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
