"""Bodies of requests, read with bounds: bytes, seconds, parts. What they hold goes to files that are given a path."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import IO

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from pipeline.core.text import visible

STALL_S = 10.0  # without a byte
_WRITE_BYTES = 2**18  # at a time: a write goes through another thread
_AROUND_BYTES = 2**16  # of a form, beside its clip
_FIELD_BYTES = 4096


class TooLarge(Exception):
    """The body holds more bytes than are taken."""


class TooSlow(Exception):
    """The body does not come, or not in time."""


class BadForm(Exception):
    """The body is no multipart/form-data with one clip; the message says why."""


async def chunks(request: Request, limit_bytes: int, body_s: float) -> AsyncGenerator[bytes, None]:
    """The body as it comes.

    Raises:
        TooLarge: as soon as it is known, by the length that the request states or by what has come.
        TooSlow: nothing has come for STALL_S, or not all in body_s.
        starlette.requests.ClientDisconnect: the client has gone.
    """
    if int(request.headers.get("content-length", 0)) > limit_bytes:  # a number: the server has checked it
        raise TooLarge
    until = time.monotonic() + body_s
    stream, size = request.stream(), 0
    while True:
        try:
            async with asyncio.timeout(max(0.0, min(STALL_S, until - time.monotonic()))):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise TooSlow from error
        size += len(chunk)
        if size > limit_bytes:
            raise TooLarge
        yield chunk


async def read_small(request: Request, limit_bytes: int, body_s: float) -> bytes:
    """The body. Raises as `chunks`."""
    return b"".join([chunk async for chunk in chunks(request, limit_bytes, body_s)])


async def write_file(body: AsyncIterator[bytes], path: Path) -> None:
    """Write a body to a file that is not there yet. Raises as `chunks`, and OSError; the file is then left."""
    buffer = bytearray()
    with await asyncio.to_thread(_create, path) as file:
        async for chunk in body:
            buffer += chunk
            if len(buffer) >= _WRITE_BYTES:
                await asyncio.to_thread(file.write, bytes(buffer))
                buffer.clear()
        await asyncio.to_thread(file.write, bytes(buffer))


async def write_form(request: Request, path: Path, names: tuple[str, ...], limit_bytes: int, body_s: float) -> dict:
    """Write the file `clip` of a form, to a file that is not there yet; return the form's other fields.

    Whatever name the client gave its file is not looked at.

    Args:
        names: of fields that the form may have.

    Raises:
        BadForm.
        TooLarge, TooSlow, ClientDisconnect, OSError: as write_file.
    """
    body = chunks(request, limit_bytes + _AROUND_BYTES, body_s)
    parser = MultiPartParser(request.headers, body, max_files=1, max_fields=len(names), max_part_size=_FIELD_BYTES)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise BadForm(error.message) from error
    except (ValueError, LookupError) as error:  # of a boundary or a header that the parser does not foresee
        raise BadForm(f"the form cannot be read ({error})") from error
    try:
        clip, fields = form.get("clip"), [(name, value) for name, value in form.multi_items() if name != "clip"]
        if not isinstance(clip, UploadFile):
            raise BadForm("the form has no file `clip`, or ends before it does")
        if unknown := [name for name, value in fields if name not in names or not isinstance(value, str)]:
            raise BadForm(f"{visible(unknown[0][:64])} is no field of the form: there are clip, {', '.join(names)}")
        if len({name for name, _ in fields}) < len(fields):
            raise BadForm("the form has a field twice")
        if (clip.size or 0) > limit_bytes:
            raise TooLarge
        await asyncio.to_thread(_copy, clip.file, path)
        return dict(fields)
    finally:
        await form.close()


def _create(path: Path) -> IO[bytes]:
    return path.open("xb")


def _copy(file: IO[bytes], path: Path) -> None:
    with _create(path) as target:
        while block := file.read(_WRITE_BYTES):
            target.write(block)
