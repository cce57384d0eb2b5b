"""Weights: what they are, and fetching them from a real server over a real, bad network."""

import hashlib
import importlib.util
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.errors import WeightsError
from models.weights.catalogue import (
    BUNDLED,
    BUNDLED_FOLDER,
    Published,
    bundled_path,
    cache_folder,
    identity,
    is_available,
    load_catalogue,
    published,
    resolve,
)
from models.weights.checkpoints import load_state_dict
from models.weights.fetch import download, fetch

CONTENT = random.Random(0).randbytes(600_000)  # the same in every process of a test run
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _Server(ThreadingHTTPServer):
    """Serves CONTENT in the ways that `answers` lists, one a request; the last one for all further requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = ["whole"]
        self.requests = 0
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def entry(self, **hashes: Any) -> Published:
        url = f"http://127.0.0.1:{self.server_port}/net.pth"
        return Published("net", "pose", "net", url, "MIT", "us", **(hashes or {"sha256": SHA256}))


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        answer = self.server.answers[min(self.server.requests, len(self.server.answers) - 1)]
        self.server.requests += 1
        if answer.isdigit():
            self.send_error(int(answer))
            return
        self.send_response(200)
        if answer != "no length":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if answer == "dropped":
            self.wfile.write(CONTENT[:300_000])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        elif answer == "other":
            self.wfile.write(b"\0" * len(CONTENT))
        elif answer == "stalled":
            self.wfile.write(CONTENT[:300_000])
            self.wfile.flush()
            time.sleep(60)
        else:
            self.wfile.write(CONTENT)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = _Server()
    yield server
    server.shutdown()
    server.server_close()


def _download(entry: Published, folder: Path) -> Path:
    return download(entry, folder, progress=False, backoff_s=0.01)


@pytest.mark.parametrize("hashes", [{"sha256": SHA256}, {"sha256_prefix": SHA256[:8]}])
@pytest.mark.parametrize("answer", ["whole", "no length"])
def test_a_file_is_fetched_once(server: _Server, tmp_path: Path, hashes: dict[str, str], answer: str) -> None:
    server.answers = [answer]
    for _ in range(2):
        path = _download(server.entry(**hashes), tmp_path / "cache")
    assert path == tmp_path / "cache" / "net.pth"
    assert path.read_bytes() == CONTENT
    assert server.requests == 1
    assert os.listdir(tmp_path / "cache") == ["net.pth"]


@pytest.mark.parametrize("failure", ["dropped", "other", "503"])
def test_two_failures_are_followed_by_success(server: _Server, tmp_path: Path, failure: str) -> None:
    server.answers = [failure, failure, "whole"]
    assert _download(server.entry(), tmp_path).read_bytes() == CONTENT
    assert server.requests == 3
    assert os.listdir(tmp_path) == ["net.pth"]


@pytest.mark.parametrize(
    ("answer", "hashes", "requests", "says"),
    [
        ("dropped", {"sha256": SHA256}, 4, "IncompleteRead"),
        ("other", {"sha256": SHA256}, 4, f"which should be {SHA256}"),
        ("whole", {"sha256_prefix": "00000000"}, 4, "which should begin with 00000000"),
        ("500", {"sha256": SHA256}, 4, "status 500"),
        ("404", {"sha256": SHA256}, 1, "status 404"),
    ],
)
def test_a_failure_leaves_nothing_and_says_where_to_put_the_file(
    server: _Server, tmp_path: Path, answer: str, hashes: dict[str, str], requests: int, says: str
) -> None:
    server.answers = [answer]
    entry = server.entry(**hashes)
    with pytest.raises(WeightsError) as caught:
        _download(entry, tmp_path)
    message = str(caught.value)
    assert says in message
    assert entry.url in message
    assert str(tmp_path / "net.pth") in message
    assert server.requests == requests
    assert os.listdir(tmp_path) == []


def test_without_a_network_the_error_says_so(server: _Server, tmp_path: Path) -> None:
    entry = server.entry()
    server.shutdown()
    server.server_close()
    with pytest.raises(WeightsError, match=r"(?s)tried 4 times.*Connection refused.*put the file of"):
        _download(entry, tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_killed_download_is_never_taken_for_the_file_and_its_debris_goes(server: _Server, tmp_path: Path) -> None:
    server.answers = ["stalled", "whole"]
    entry = server.entry()
    code = (
        "import sys; from pathlib import Path\n"
        "from models.weights.fetch import download; from models.weights.catalogue import Published\n"
        f"download({entry!r}, Path(sys.argv[1]), progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[3])
    try:
        deadline = time.monotonic() + 30
        while not any(part.stat().st_size >= 200_000 for part in tmp_path.glob(".part-*/net.pth")):
            assert time.monotonic() < deadline, "the download did not begin"
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert list(tmp_path.glob(".part-*"))
    assert not (tmp_path / "net.pth").exists()
    assert _download(entry, tmp_path).read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["net.pth"]


def test_two_that_fetch_the_same_file_fetch_it_once(server: _Server, tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        paths = list(pool.map(lambda _: _download(server.entry(), tmp_path), range(4)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert server.requests == 1


def test_a_cache_that_cannot_be_written_is_named(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match=r"cannot be written to .*file/cache.*VDV_WEIGHTS"):
        _download(server.entry(), tmp_path / "file" / "cache")


def test_another_file_of_that_name_in_the_cache_is_refused(tmp_path: Path) -> None:
    entry = load_catalogue()["rtmo-t-body7"]
    (tmp_path / entry.file_name).write_bytes(b"something else")
    for ask in (resolve, is_available, fetch):
        with pytest.raises(WeightsError, match="should begin with f48f75cb"):
            ask("rtmo-t-body7", tmp_path)


def test_an_identity_is_the_same_before_and_after_the_file_is_there(server: _Server, tmp_path: Path) -> None:
    for hashes in ({"sha256": SHA256}, {"sha256_prefix": SHA256[:8]}):
        entry = server.entry(**hashes)
        before = entry.identity
        _download(entry, tmp_path)
        assert entry.identity == before
    assert identity("places365-resnet18") == f"sha256:{load_catalogue()['places365-resnet18'].sha256}"
    assert not is_available("places365-resnet18", tmp_path)


def test_the_identity_of_a_path_follows_its_content(tmp_path: Path) -> None:
    path = tmp_path / "own.pth"
    path.write_bytes(CONTENT)
    assert identity(str(path)) == f"sha256:{SHA256}"
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(1, 1))
    assert identity(str(path)) == f"sha256:{hashlib.sha256(CONTENT[::-1]).hexdigest()}"


def test_untrained_and_packaged_weights_are_at_hand(tmp_path: Path) -> None:
    untrained = resolve("untrained:7", tmp_path)
    assert (untrained.path, untrained.trained, untrained.seed, untrained.identity) == (None, False, 7, "untrained:7")
    detector = fetch("package:facenet-pytorch", tmp_path)
    assert detector.trained
    assert detector.path
    assert sorted(path.name for path in detector.path.iterdir()) == ["onet.pt", "pnet.pt", "rnet.pt"]


@pytest.mark.parametrize("weights", BUNDLED)
def test_bundled_weights_are_at_hand_small_known_by_content_and_on_the_card(weights: str, tmp_path: Path) -> None:
    resolved = resolve(weights, tmp_path)
    assert resolved.path is not None
    assert resolved.path == bundled_path(weights)
    assert resolved.trained
    assert resolved.identity == f"sha256:{hashlib.sha256(resolved.path.read_bytes()).hexdigest()}"
    assert all(value.dtype.itemsize <= 2 for value in load_state_dict(resolved.path).values() if value.numel() > 1000)
    assert f"`{resolved.path.name}`" in (BUNDLED_FOLDER / "README.md").read_text()


def test_all_bundled_weights_together_are_under_15_mb() -> None:
    paths = [bundled_path(weights) for weights in BUNDLED]
    assert 1e6 < sum(path.stat().st_size for path in paths if path is not None) < 15e6
    assert None not in paths


@pytest.mark.parametrize(
    "weights", ["", "nothing", "bundled:", "bundled:hands", "untrained:", "untrained:x", "package:mmpose"]
)
def test_weights_of_no_kind_are_refused(weights: str) -> None:
    with pytest.raises(WeightsError, match="there are no weights"):
        identity(weights)


def test_the_cache_is_the_argument_then_the_variable_then_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VDV_WEIGHTS", str(tmp_path / "variable"))
    assert cache_folder(tmp_path / "argument") == tmp_path / "argument"
    assert cache_folder() == tmp_path / "variable"
    monkeypatch.delenv("VDV_WEIGHTS")
    assert cache_folder().name == "vdv"


def test_a_full_hash_begins_with_the_digits_in_the_publishers_file_name() -> None:
    for entry in load_catalogue().values():
        if entry.publisher in ("OpenMMLab mmpose", "torchvision"):
            digits = (entry.sha256 or entry.sha256_prefix or "")[:8]
            assert f"-{digits}" in entry.file_name


def test_mmposes_urls_are_those_of_its_own_metafiles() -> None:
    spec = importlib.util.find_spec("mmpose")
    if spec is None or spec.origin is None:
        pytest.skip("mmpose is not installed")
    folder = Path(spec.origin).parent / ".mim/configs/body_2d_keypoint/rtmo"
    official = {
        model["Name"]: model["Weights"]
        for path in folder.rglob("*.yml")
        for model in yaml.safe_load(path.read_text())["Models"]
    }
    ours = {e.architecture: e.url for e in load_catalogue().values() if e.modality == "pose"}
    assert len(ours) == 7
    assert ours == {name: official[name] for name in ours}


def test_torchvisions_and_facenets_urls_are_those_of_the_installed_packages() -> None:
    from torchvision.models import ResNet18_Weights, ResNet50_Weights

    catalogue = load_catalogue()
    assert catalogue["imagenet-resnet50-v2"].url == ResNet50_Weights.IMAGENET1K_V2.url
    assert catalogue["imagenet-resnet18-v1"].url == ResNet18_Weights.IMAGENET1K_V1.url
    spec = importlib.util.find_spec("facenet_pytorch")
    assert spec is not None
    assert spec.origin is not None
    source = (Path(spec.origin).parent / "models/inception_resnet_v1.py").read_text()
    assert f"'{catalogue['vggface2-inception-resnet-v1'].url}'" in source


def test_file_names_in_the_cache_are_unique() -> None:
    entries = load_catalogue()
    assert len({entry.file_name for entry in entries.values()}) == len(entries)
    assert published("rtmo-l-body7") is entries["rtmo-l-body7"]
