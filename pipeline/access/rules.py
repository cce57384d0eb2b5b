"""Rules of who may read what. A manifest is data from elsewhere: it must not make this machine open whatever it names.

Read without being asked for: regular files of this machine, object stores, and https from public addresses. Everything
else has to match one of the user's patterns, `--allow-uri`.
"""

import ipaddress
import os
import re
import stat
from collections.abc import Sequence
from fnmatch import fnmatchcase

from pipeline.core.errors import ClipError
from pipeline.core.text import visible

_FILES = ("file", "local")
_OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
_KINDS = {
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket",
}  # fmt: skip
_IPV6_HOST = re.compile(r"^https?://(?:[^/@]*@)?\[[0-9A-Fa-f:.]+\]")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # an IPv4 address in its last 32 bits, that a gateway connects to


def scheme(uri: str) -> str:
    """The scheme of a URL; `file` of a path, `chain` of several joined by `::`, which make fsspec open one another."""
    if "://" not in uri:
        return "file"
    if "::" in _IPV6_HOST.sub("", uri):
        return "chain"
    name = uri.split("://", 1)[0]
    return "file" if name in _FILES else name


def matches(uri: str, patterns: Sequence[str]) -> bool:
    """Whether a uri matches a pattern of --allow-uri: * is any text, ? any character, [...] one of several."""
    return any(fnmatchcase(uri, pattern) for pattern in patterns)


def check_uri(uri: str, patterns: Sequence[str]) -> None:
    """Refuse a uri for its kind. Of https the address is checked when it is connected to, of a file when it is opened.

    Raises:
        ClipError: not_allowed.
    """
    kind = scheme(uri)
    if kind in ("file", "https", *_OBJECT_STORES) or matches(uri, patterns):
        return
    reasons = {"chain": "chains of filesystems are not read", "http": "http:// is not read, https:// is"}
    raise refusal(uri, reasons.get(kind, f"{kind}:// is not read"))


def check_file(uri: str, status: os.stat_result, patterns: Sequence[str]) -> None:
    """Refuse a local file that is not on a disk: reading it may block, never end, or do something.

    Folders pass: they cannot be opened as files.

    Raises:
        ClipError: not_allowed.
    """
    if not is_plain(status) and not matches(uri, patterns):
        raise refusal(uri, f"it is {_KINDS.get(stat.S_IFMT(status.st_mode), 'a file that the kernel makes up')}")


def is_plain(status: os.stat_result) -> bool:
    """Whether a local path leads to a regular file on a disk, or to a folder."""
    return stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_dev not in _KERNEL)


def is_public(address: str) -> bool:
    """Whether an IP address is of one host of the Internet, not of this machine or a network of its own."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def refusal(uri: str, why: str) -> ClipError:
    """The error of a uri that may not be read, with what to do."""
    return ClipError(
        "not_allowed", f"{visible(uri)}: {why}; to read it all the same give an --allow-uri that matches it"
    )


def kernel_devices(*places: str) -> frozenset[int]:
    """Devices of the filesystems that the kernel makes up: some of their files block, or are as long as all memory.

    places: where they are mounted. One that is not, as in a bare container, is a folder of a disk.
    """
    return frozenset(os.stat(place).st_dev for place in places if os.path.ismount(place))


_KERNEL = kernel_devices("/proc", "/sys")
