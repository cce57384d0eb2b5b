"""Rules of who may read what."""

import os
import socket
from pathlib import Path

import pytest

from pipeline.access.rules import check_file, check_uri, is_public, kernel_devices, matches, scheme
from pipeline.core.errors import ClipError

READ = ["/data/a.mp4", "a.mp4", "file:///data/a.mp4", "s3://b/a", "gs://b/a", "abfs://c@h/a", "https://host/a.mp4"]
NOT_READ = [
    "http://host/a.mp4", "ftp://host/a.mp4", "sftp://host/a", "memory://a", "data://x", "ssh://host/a", "git://a",
    "simplecache::https://host/a.mp4", "tar://a.mp4::https://host/a.tar.gz", "reference://::https://host/a.json",
    "file:///a::http://host/a", "s3://b/a::http://host/a", "https://host/a::b", "/data/http://host/a",
    "s3://b/[::]http://host/a",
]  # fmt: skip


@pytest.mark.parametrize("uri", READ)
def test_files_object_stores_and_https_are_read(uri: str) -> None:
    check_uri(uri, ())


@pytest.mark.parametrize("uri", NOT_READ)
def test_everything_else_is_read_where_a_pattern_allows_it_only(uri: str) -> None:
    with pytest.raises(ClipError, match="--allow-uri") as caught:
        check_uri(uri, ("https://host/*.mp4x", "host"))
    assert caught.value.code == "not_allowed"
    check_uri(uri, ("nothing", uri.replace("[", "[[]")))


def test_a_pattern_is_of_the_whole_uri() -> None:
    assert matches("http://host/a/b.mp4", ("http://host/*",))
    assert not matches("http://host/a/b.mp4", ("http://host", "host/*", "http://host/?.mp4", "http://HOST/*"))


def test_an_ipv6_host_is_no_chain() -> None:
    assert scheme("https://[2606:4700::1111]:8443/a.mp4") == "https"
    assert scheme("https://[2606:4700::1111]/a::b") == "chain"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1",
        "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1",
    ],
)  # fmt: skip
def test_an_address_of_this_machine_or_its_networks_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::"]
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("kind", ["device", "pipe", "socket", "kernel", "link"])
def test_a_file_that_is_not_on_a_disk_is_not_read_unless_allowed(kind: str, tmp_path: Path) -> None:
    path = {"device": "/dev/zero", "kernel": "/proc/kmsg"}.get(kind, str(tmp_path / kind))
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        os.symlink("/dev/zero", path)
    elif kind == "socket":
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path)
    elif not os.path.exists(path):
        pytest.skip(f"this machine has no {path}")
    with pytest.raises(ClipError, match=r"it is a .*--allow-uri") as caught:
        check_file(path, os.stat(path), ())
    assert caught.value.code == "not_allowed"
    check_file(path, os.stat(path), (path,))


def test_where_no_such_filesystem_is_mounted_the_disk_is_not_taken_for_one(tmp_path: Path) -> None:
    assert kernel_devices("/proc") == {os.stat("/proc/self").st_dev}
    assert kernel_devices(str(tmp_path), str(tmp_path / "sys")) == frozenset()


def test_a_file_on_a_disk_and_a_folder_pass(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"x")
    os.symlink(tmp_path / "clip.mp4", tmp_path / "link")
    for path in (tmp_path, tmp_path / "clip.mp4", tmp_path / "link"):
        check_file(str(path), os.stat(path), ())
