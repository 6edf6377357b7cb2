"""The real download code against a Hub, its file store and a mirror on this machine: whole, resumed, refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import socket
import tarfile
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from hub_server import COMMIT, Places, leftovers, places, start_python
from mobilenets.data import download as downloads
from mobilenets.errors import UserError
from mobilenets.weights import hub, huggingface
from mobilenets.weights.catalog import PublishedWeights, find
from mobilenets.weights.hub import cached, fetch

__all__ = ["places"]
WEIGHTS = bytes(range(256)) * 12_000  # 3 MB
TIMM = find("mobilenet_v2.timm_ra_in1k")
KERAS = find("mobilenet_v1_025.keras_128_in1k")
KERAS_V3 = find("mobilenet_v3_small.keras_224_in1k")
TFLITE = find("mobilenet_v1_025.tflite_128_uint8_in1k")
TORCH = replace(find("mobilenet_v2.torchvision_v2_in1k"), sha256=hashlib.sha256(WEIGHTS).hexdigest()[:8])
ON_STORE = f"/{TIMM.repo}/model.safetensors"


def mirrored(entry: PublishedWeights) -> str:
    return "/" + entry.url.partition("://")[2]


def refusal(entry: PublishedWeights) -> str:
    with pytest.raises(UserError) as caught:
        fetch(entry)
    assert "\n" not in str(caught.value)
    assert cached(entry) is None
    return str(caught.value)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "RETRY_SECONDS", 0.0)


# The Hugging Face Hub


def test_a_repository_once(places: Places, cache: Path) -> None:
    places.put_repository(TIMM.repo, WEIGHTS)
    assert cached(TIMM) is None
    path = fetch(TIMM)
    assert path.read_bytes() == WEIGHTS
    assert path.is_relative_to(cache)
    assert path.parent.name == COMMIT
    assert b"mobilenetv2_100.ra_in1k" in (path.parent / "config.json").read_bytes()
    assert {method for method, *_ in places.asked} == {"HEAD", "GET"}
    assert all(("/resolve/" in path) or path.startswith("/store/") for _, path, _ in places.asked)
    places.asked.clear()
    assert fetch(TIMM) == cached(TIMM) == path
    assert places.asked == []


def test_a_repository_over_a_connection_that_breaks_off(
    places: Places, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100_000)  # what it goes on by; else 10 MB
    places.put_repository(TIMM.repo, WEIGHTS)
    places.cut_after = [1_000_000, 500_000]
    assert fetch(TIMM).read_bytes() == WEIGHTS
    transfers = [given for method, path, given in places.asked if path.startswith("/store/")]
    assert transfers == ["", "bytes=1000000-", "bytes=1500000-"]
    assert caplog.records == []  # the library's notes are kept back


def test_a_connection_that_always_breaks_off(places: Places, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    places.put_repository(TIMM.repo, WEIGHTS)
    places.cut_after = [0] * 20
    assert "the connection broke off (RemoteProtocolError" in refusal(TIMM)
    assert [name for name in leftovers(cache) if name not in ("main", "config.json")] == [git_name(places)]
    places.cut_after = []
    assert fetch(TIMM).read_bytes() == WEIGHTS


def git_name(places: Places) -> str:
    data = places.files[f"/{TIMM.repo}/config.json"]
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def test_a_file_changed_on_the_way(places: Places, cache: Path) -> None:
    places.put_repository(TIMM.repo, WEIGHTS)
    places.served[ON_STORE] = b"x" + WEIGHTS[1:]
    assert "its hash differs from the one the Hub states" in refusal(TIMM)
    assert "model.safetensors" not in leftovers(cache)
    assert hashlib.sha256(WEIGHTS).hexdigest() not in leftovers(cache)
    places.served.clear()
    assert fetch(TIMM).read_bytes() == WEIGHTS


@pytest.mark.parametrize("content", [WEIGHTS[:-1], WEIGHTS + b"x"])
def test_a_file_of_another_size(places: Places, cache: Path, content: bytes) -> None:
    places.put_repository(TIMM.repo, WEIGHTS)
    places.served[ON_STORE] = content
    assert "arrived in another size" in refusal(TIMM)
    assert "model.safetensors" not in leftovers(cache)


@pytest.mark.parametrize(
    ("where", "fault", "message"),
    [
        ("config.json", (404, {"X-Error-Code": "EntryNotFound"}), "the repository has no file config.json"),
        ("model.safetensors", (404, {"X-Error-Code": "RevisionNotFound"}), "the repository has no revision main"),
        ("config.json", (401, {"X-Error-Code": "RepoNotFound"}), "there is no such repository, or it is private"),
        ("config.json", (403, {"X-Error-Code": "GatedRepo"}), "gated; accept its terms at https://huggingface.co/timm"),
        ("config.json", (403, {}), "the server answers 403 for config.json"),
        ("config.json", (200, {}), "what answers there is no Hugging Face Hub"),
    ],
)
def test_what_the_hub_refuses(
    places: Places, cache: Path, where: str, fault: tuple[int, dict[str, str]], message: str
) -> None:
    places.put_repository(TIMM.repo, WEIGHTS)
    places.faults[f"/{TIMM.repo}/{where}"] = fault
    assert refusal(TIMM).startswith(f"{places.address}/{TIMM.repo}: {message}")
    assert "model.safetensors" not in leftovers(cache)


def test_a_repository_or_file_that_is_not_there(places: Places) -> None:
    assert "there is no such repository" in refusal(TIMM)
    places.put_repository(TIMM.repo, WEIGHTS)
    assert "has no file other.safetensors" in refusal(replace(TIMM, file="other.safetensors"))


def test_a_hub_that_is_down(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    places.put_repository(TIMM.repo, WEIGHTS)
    places.faults[f"/{TIMM.repo}/config.json"] = (503, {})
    assert "the server answers 503 for config.json" in refusal(TIMM)


def test_no_hub_there(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # discard: nothing listens
    assert "http://127.0.0.1:9/timm/mobilenetv2_100.ra_in1k: cannot be reached" in refusal(TIMM)
    monkeypatch.setenv("HF_ENDPOINT", "ftp://127.0.0.1")
    assert "HF_ENDPOINT=ftp://127.0.0.1: an address that begins with http://" in refusal(TIMM)
    assert places.asked == []


def test_a_hub_that_does_not_answer(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(huggingface, "TIMEOUT_SECONDS", 0.2)
        assert "cannot be reached, or the connection broke off (ReadTimeout" in refusal(TIMM)


def test_a_full_disk_is_seen_before_the_transfer(places: Places, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places.put_repository(TIMM.repo, WEIGHTS)
    usage = type("Usage", (), {"free": 1_000_000})()
    monkeypatch.setattr("huggingface_hub.file_download.shutil.disk_usage", lambda folder: usage)
    assert "not enough room on the disk for model.safetensors" in refusal(TIMM)
    assert [path for _, path, _ in places.asked if path.startswith("/store/")] == []
    assert "model.safetensors" not in leftovers(cache)


def test_the_library_writes_nothing_and_is_left_as_it_was(
    places: Places, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    places.put_repository(TIMM.repo, WEIGHTS)
    level = logging.getLogger("huggingface_hub").level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fetch(TIMM)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "licence: Apache-2.0" in captured.err
    assert logging.getLogger("huggingface_hub").level == level


# Files by HTTPS


def test_a_file_by_https_once(places: Places, cache: Path) -> None:
    places.files[mirrored(TORCH)] = WEIGHTS
    path = fetch(TORCH)
    assert path == cache / "weights" / TORCH.name / "mobilenet_v2-7ebf99e0.pth"
    assert path.read_bytes() == WEIGHTS
    assert len(places.asked) == 1
    assert fetch(TORCH) == cached(TORCH) == path
    assert len(places.asked) == 1
    assert leftovers(cache) == [path.name]


def test_a_hash_that_does_not_fit(places: Places, cache: Path) -> None:
    for entry, hash_name in (
        (find("mobilenet_v2.torchvision_v2_in1k"), "SHA-256"),  # eight digits in the published name
        (KERAS_V3, "MD5"),  # in Keras' code
        (KERAS, "MD5"),  # none published: Google's storage states one
    ):
        places.files[mirrored(entry)] = WEIGHTS
        places.served[mirrored(entry)] = b"x" + WEIGHTS[1:]
        assert f"its {hash_name} differs" in refusal(entry)
        assert leftovers(cache) == []


def test_an_md5_that_fits(places: Places) -> None:
    places.tags = False
    places.files[mirrored(KERAS_V3)] = WEIGHTS
    entry = replace(KERAS_V3, md5=hashlib.md5(WEIGHTS).hexdigest())
    assert fetch(entry).read_bytes() == WEIGHTS


def test_a_later_call_goes_on(places: Places, cache: Path) -> None:
    for entry in (TORCH, KERAS):  # with a hash, and with the server's tag alone
        places.files[mirrored(entry)] = WEIGHTS
        places.cut_after = [10_000] * downloads.ATTEMPTS
        assert "at 40,000 of 3,072,000 bytes; the same command goes on from there" in refusal(entry)
        places.asked.clear()
        assert fetch(entry).read_bytes() == WEIGHTS
        assert [given for *_, given in places.asked] == ["bytes=40000-"]


def test_not_found_and_nobody_there(places: Places, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(KERAS) == f"{places.address}{mirrored(KERAS)}: the server answers 404 (Not Found)"
    monkeypatch.setenv("MOBILENETS_MIRROR", "http://127.0.0.1:9")
    assert "cannot be reached" in refusal(KERAS)
    assert leftovers(cache) == []


# Archives


def tgz(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def test_the_tflite_file_of_an_archive(places: Places, cache: Path) -> None:
    places.files[mirrored(TFLITE)] = tgz(
        {"./mobilenet.ckpt.data": b"c" * 100_000, "./mobilenet_v1_0.25_128_quant.tflite": WEIGHTS, "./info.txt": b"i"}
    )
    path = fetch(TFLITE)
    assert path.name == "mobilenet_v1_0.25_128_quant.tflite"
    assert path.read_bytes() == WEIGHTS
    assert leftovers(cache) == [path.name]  # neither the archive nor another member
    assert fetch(TFLITE) == path
    assert len(places.asked) == 1


def test_a_member_that_would_lead_out_is_kept_under_our_name(places: Places, cache: Path) -> None:
    places.files[mirrored(TFLITE)] = tgz({"../../../evil.tflite": WEIGHTS, "/etc/passwd": b"no"})
    path = fetch(TFLITE)
    assert path.parent == cache / "weights" / TFLITE.name
    assert path.name == TFLITE.file
    assert leftovers(cache.parent) == [path.name]


def test_of_several_the_one_of_the_right_name(places: Places, cache: Path) -> None:
    places.files[mirrored(TFLITE)] = tgz({"a/other.tflite": b"o" * 5000, f"b/{TFLITE.file}": WEIGHTS})
    assert fetch(TFLITE).read_bytes() == WEIGHTS


def link_to_a_file() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("model.tflite")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    return packed.getvalue()


GOOD = tgz({TFLITE.file: os.urandom(50_000)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD[:-9], "a damaged one (cut off)"),
        (GOOD[: len(GOOD) // 2], "a damaged one"),
        (GOOD[:-6] + b"\0\0" + GOOD[-4:], "a damaged one"),  # its checksum
        (WEIGHTS, "no .tgz archive"),
        (gzip.compress(WEIGHTS), "a damaged one"),
        (tgz({"info.txt": b"i"}), "but no .tflite file"),
        (tgz({"a.tflite": b"a", "b.tflite": b"b"}), "but a.tflite, b.tflite"),
        (link_to_a_file(), "but no .tflite file"),
    ],
    ids=["cut at the end", "half", "checksum", "no archive", "no tar", "none", "two", "a link"],
)
def test_archives_that_are_refused(places: Places, cache: Path, content: bytes, message: str) -> None:
    places.files[mirrored(TFLITE)] = content
    assert message in refusal(TFLITE)
    assert leftovers(cache) == []


def test_archives_that_grow_too_far(places: Places, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places.files[mirrored(TFLITE)] = tgz({"checkpoint": bytes(3_000_000), TFLITE.file: bytes(100_000)})
    monkeypatch.setattr(hub, "TFLITE_LIMIT", 99_999)
    assert "has 100,000 bytes; at most 99,999 are read" in refusal(TFLITE)
    monkeypatch.setattr(hub, "ARCHIVE_LIMIT", 2_000_000)
    assert "unpacks to more than 2,000,000 bytes: refused" in refusal(TFLITE)
    assert leftovers(cache) == []


# Offline, and several at once


@pytest.mark.parametrize("setting", ["MOBILENETS_OFFLINE", "HF_HUB_OFFLINE"])
@pytest.mark.parametrize("entry", [TIMM, KERAS], ids=lambda entry: entry.library)
def test_offline(places: Places, monkeypatch: pytest.MonkeyPatch, setting: str, entry: PublishedWeights) -> None:
    places.put_repository(TIMM.repo, WEIGHTS)
    places.files[mirrored(KERAS)] = WEIGHTS
    monkeypatch.setenv(setting, "1")
    assert refusal(entry).endswith(f": not in the cache, and {setting}=1 forbids to download it")
    assert places.asked == []
    monkeypatch.setenv(setting, "0")
    path = fetch(entry)
    monkeypatch.setenv(setting, "1")
    assert fetch(entry) == path


@pytest.mark.parametrize("entry", [TIMM, TORCH, TFLITE], ids=lambda entry: entry.library)
def test_threads_at_once_download_once(places: Places, entry: PublishedWeights) -> None:
    places.put_repository(TIMM.repo, WEIGHTS)
    places.files[mirrored(TORCH)] = WEIGHTS
    places.files[mirrored(TFLITE)] = GOOD
    threads = [threading.Thread(target=fetch, args=(entry,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cached(entry) is not None
    assert len([1 for method, path, _ in places.asked if method == "GET" and "config.json" not in path]) == 1


def test_two_processes_at_once_download_once(places: Places, cache: Path) -> None:
    places.put_repository(TIMM.repo, WEIGHTS)
    code = f"from mobilenets.weights import catalog, hub; print(hub.fetch(catalog.find({TIMM.name!r})))"
    running = [start_python(code, places, cache) for _ in range(2)]
    said = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    (first, _), (second, _) = said
    assert first == second
    assert Path(first.strip()).read_bytes() == WEIGHTS
    assert len([1 for method, path, _ in places.asked if path.startswith("/store/")]) == 1
