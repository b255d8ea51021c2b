from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from servewatt.errors import InputError, UnavailableError
from servewatt.models import cache as module
from servewatt.models.cache import ArtefactCache, cache_root, cap_from_environment, format_bytes, parse_bytes

SPAWN = multiprocessing.get_context("spawn")


def filler(size: int, log: Path | None = None, delay_s: float = 0.0) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        if log:
            with log.open("a") as stream:
                stream.write(f"{os.getpid()}\n")
        time.sleep(delay_s)
        (folder / "data").write_bytes(b"\1" * size)

    return build


def build_slowly(root: Path, log: Path) -> None:
    with ArtefactCache(root, 10**9) as cache:
        cache.get_or_build("onnx", ["a"], filler(10, log, 0.3))


def build_and_die(root: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").touch()
        os.kill(os.getpid(), signal.SIGKILL)

    ArtefactCache(root, 10**9).get_or_build("onnx", ["a"], build)


def hold(root: Path, ready: Path, done: Path) -> None:
    with ArtefactCache(root, 10**9) as cache:
        cache.get_or_build("onnx", ["held"], filler(10))
        ready.touch()
        while not done.exists():
            time.sleep(0.02)


def wait_for(path: Path) -> None:
    limit = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < limit
        time.sleep(0.02)


def add(root: Path, name: str, size: int, age_s: float = 0.0) -> Path:
    """An artefact that no process holds, used `age_s` ago."""
    with ArtefactCache(root, 10**12) as cache:
        folder = cache.get_or_build("onnx", [name], filler(size))
    stamp = time.time() - age_s
    os.utime(folder / module.MANIFEST, (stamp, stamp))
    return folder


def test_built_once_then_found(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for _ in range(2):
        with ArtefactCache(tmp_path / "c", 10**9) as cache:
            folder = cache.get_or_build("onnx", ["revision", "1.0"], filler(100, log))
            assert cache.get_or_build("onnx", ["revision", "1.0"], filler(100, log)) == folder
    assert len(log.read_text().splitlines()) == 1
    assert (folder / "data").stat().st_size == 100
    assert folder.parent == tmp_path / "c" / "artefacts" / "onnx"
    with ArtefactCache(tmp_path / "c", 10**9) as cache:
        [entry] = cache.entries()
        assert (entry.kind, entry.key, entry.folder) == ("onnx", ("revision", "1.0"), folder)
        assert entry.size_bytes == 100
        # A file's time may be of the kernel's last tick.
        assert entry.created_s - 0.02 <= entry.last_used_s <= time.time()
        assert cache.get_or_build("onnx", ["revision", "1.1"], filler(1)) != folder
        assert cache.get_or_build("onnx", ["revision1.0"], filler(1)) != folder
        assert cache.get_or_build("openvino", ["revision", "1.0"], filler(1)) != folder


def test_an_artefact_removed_by_hand_is_built_again(tmp_path: Path) -> None:
    with ArtefactCache(tmp_path, 10**9) as cache:
        shutil.rmtree(cache.get_or_build("onnx", ["a"], filler(3)))
        assert (cache.get_or_build("onnx", ["a"], filler(3)) / "data").is_file()


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").touch()
        raise ValueError("no")

    with ArtefactCache(tmp_path, 10**9) as cache:
        with pytest.raises(ValueError, match="no"):
            cache.get_or_build("onnx", ["a"], build)
        assert not [p for p in (tmp_path / "artefacts" / "onnx").iterdir() if p.is_dir()]
        assert (cache.get_or_build("onnx", ["a"], filler(3)) / "data").is_file()


def test_two_processes_build_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    workers = [SPAWN.Process(target=build_slowly, args=(tmp_path / "c", log)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(log.read_text().splitlines()) == 1


def test_a_killed_build_is_swept(tmp_path: Path) -> None:
    worker = SPAWN.Process(target=build_and_die, args=(tmp_path,))
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    kind = tmp_path / "artefacts" / "onnx"
    assert list(kind.glob(".tmp-*"))
    with ArtefactCache(tmp_path, 10**9) as cache:
        assert cache.entries() == []
        cache.get_or_build("onnx", ["another"], filler(1))
    assert not list(kind.glob(".tmp-*"))


def test_a_build_under_way_is_not_swept(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "data").touch()
        with ArtefactCache(tmp_path, 10**9) as other:
            other.prune(everything=True)
        assert (folder / "data").exists()

    with ArtefactCache(tmp_path, 10**9) as cache:
        assert (cache.get_or_build("onnx", ["a"], build) / "data").exists()


def test_the_longest_unused_goes_first(tmp_path: Path) -> None:
    old, older, fresh = add(tmp_path, "b", 100, 20), add(tmp_path, "a", 100, 30), add(tmp_path, "c", 100, 10)
    with ArtefactCache(tmp_path, 250) as cache:
        new = cache.get_or_build("onnx", ["d"], filler(100))
    assert [p.exists() for p in (older, old, fresh, new)] == [False, False, True, True]
    with ArtefactCache(tmp_path, 250) as cache:  # use counts, not age
        cache.get_or_build("onnx", ["c"], filler(100))
        cache.close()
        cache.get_or_build("onnx", ["e"], filler(100))
    assert [p.exists() for p in (fresh, new)] == [True, False]


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    root, ready, done = tmp_path / "c", tmp_path / "ready", tmp_path / "done"
    worker = SPAWN.Process(target=hold, args=(root, ready, done))
    worker.start()
    try:
        wait_for(ready)
        add(root, "free", 20)
        pruned = ArtefactCache(root, 10**9).prune(everything=True)
        assert [e.key for e in pruned.removed] == [("free",)]
        assert [e.key for e in pruned.in_use] == [("held",)]
        assert pruned.freed_bytes == 20
    finally:
        done.touch()
        worker.join()
    assert [e.key for e in ArtefactCache(root, 10**9).prune(everything=True).removed] == [("held",)]
    assert not list((root / "artefacts" / "onnx").iterdir())


def test_pruning_by_age_and_size(tmp_path: Path) -> None:
    for name, age_s in (("a", 300.0), ("b", 200.0), ("c", 100.0)):
        add(tmp_path, name, 100, age_s)
    cache = ArtefactCache(tmp_path, 10**9)
    assert [e.key for e in cache.prune().removed] == []
    assert [e.key for e in cache.prune(older_than_s=250).removed] == [("a",)]
    assert [e.key for e in cache.prune(to_bytes=150).removed] == [("b",)]
    assert [e.key for e in cache.entries()] == [("c",)]


def test_room_is_made_before_a_large_build(tmp_path: Path) -> None:
    add(tmp_path, "old", 100, 10)
    seen = []
    with ArtefactCache(tmp_path, 150) as cache:
        cache.get_or_build("onnx", ["new"], lambda _: seen.extend(cache.entries()), expected_bytes=100)
    assert seen == []


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def build_elsewhere(folder: Path) -> None:
        raise RuntimeError("write failed: No space left on device (os error 28)")

    add(tmp_path, "old", 2_500_000)
    cache = ArtefactCache(tmp_path, 10**9)
    for builder in (build, build_elsewhere):
        with pytest.raises(UnavailableError) as caught:
            cache.get_or_build("onnx", ["a"], builder)
        assert "no room left for the onnx artefact" in caught.value.message
        assert "2.5 MB of artefacts" in caught.value.message
        assert "servewatt models prune" in caught.value.hint
    assert [e.key for e in cache.entries()] == [("old",)]
    with pytest.raises(UnavailableError, match="needs 1000000 TB"):
        cache.get_or_build("onnx", ["a"], filler(1), expected_bytes=10**18)


def test_an_unwritable_cache_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError) as caught:
        ArtefactCache(tmp_path / "file", 10**9).get_or_build("onnx", ["a"], filler(1))
    assert "XDG_CACHE_HOME" in caught.value.hint


def test_a_broken_manifest_costs_only_its_facts(tmp_path: Path) -> None:
    folder = add(tmp_path, "a", 100)
    for content in ("{", "[" * 100_000, '{"key": [], "size_bytes": 1e400, "created_s": 1}', "[]"):
        (folder / module.MANIFEST).write_text(content)
        [entry] = ArtefactCache(tmp_path, 10**9).entries()
        assert entry.key == ()
        assert entry.size_bytes == 100
    shutil.rmtree(folder)
    assert ArtefactCache(tmp_path, 10**9).entries() == []


def test_the_manifest_can_be_read(tmp_path: Path) -> None:
    noted = json.loads((add(tmp_path, "a", 100) / module.MANIFEST).read_text())
    assert (noted["kind"], noted["key"], noted["size_bytes"]) == ("onnx", ["a"], 100)


def test_a_lock_file_that_went_meanwhile_is_not_trusted(tmp_path: Path) -> None:
    folder = add(tmp_path, "a", 1)
    lock = folder.with_name(folder.name + ".lock")
    handle = os.open(lock, os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    lock.unlink()  # as a removal in another process does
    with ArtefactCache(tmp_path, 10**9) as cache:
        assert cache.get_or_build("onnx", ["a"], filler(1)) == folder
    os.close(handle)


@pytest.mark.parametrize(
    ("text", "size"),
    [("20GiB", 20 * 2**30), ("500 MB", 500_000_000), ("1.5k", 1500), ("1000000", 10**6), ("2tib", 2**41), ("7 B", 7)],
)
def test_amounts_of_bytes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "many", "-1", "1 XB", "1e3"])
def test_no_amounts_of_bytes(text: str) -> None:
    with pytest.raises(InputError):
        parse_bytes(text)


def test_sizes_for_people() -> None:
    assert [format_bytes(n) for n in (0, 999, 1000, 1_621_336_064, 999_600)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.6 GB",
        "1.0 MB",
    ]


def test_the_environment_decides_root_and_cap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("SERVEWATT_CACHE_CAP", "1 GB")
    assert (cache_root(), cap_from_environment()) == (tmp_path / "servewatt", 10**9)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SERVEWATT_CACHE_CAP", "")
    assert (cache_root(), cap_from_environment()) == (tmp_path / ".cache" / "servewatt", 20 * 2**30)
    monkeypatch.setenv("SERVEWATT_CACHE_CAP", "lots")
    with pytest.raises(InputError, match="SERVEWATT_CACHE_CAP"):
        cap_from_environment()


def test_what_grows_in_use_counts_as_what_it_is_now(tmp_path: Path) -> None:
    """A compiler's cache is handed out empty and filled by the process that uses it."""
    with ArtefactCache(tmp_path, 1000) as cache:
        folder = cache.get_or_build("torch-graph", ["a"], lambda folder: (folder / "inductor").mkdir())
        (folder / "inductor" / "kernel").write_bytes(b"1" * 700)
    with ArtefactCache(tmp_path, 1000) as cache:
        (entry,) = cache.entries()
        assert entry.size_bytes == 700
        cache.get_or_build("onnx", ["b"], filler(400))
        assert [entry.key for entry in cache.entries()] == [("b",)], "1100 bytes are above the cap"
