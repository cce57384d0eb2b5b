"""The service over HTTP: what is taken of a request, and what is answered. Nothing here blocks the event loop."""

import asyncio
import hmac
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.access.rules import scheme
from pipeline.core import storage
from pipeline.core.errors import ClipError, ManifestError
from pipeline.core.text import visible
from pipeline.ingest.manifest import Batch, clip_batch
from pipeline.serve import bodies
from pipeline.serve.answers import Answer, Health, Judged, Problem, RunFacts, answer, is_disk_full
from pipeline.serve.fetches import Fetches
from pipeline.serve.options import ServeOptions
from pipeline.serve.schema import FIELDS, PROBLEM, Fields, ScoreUri, complete, request_body
from pipeline.serve.uris import check_asked

log = logging.getLogger(__name__)

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
F = TypeVar("F", bound=Fields)
Release = Callable[[], None]  # of a clip's file

_JSON_BYTES = 2**16
_RETRY_S = 5  # after which somebody who found the queue full may ask again
_GONE = 499  # status, in the log alone, of a request whose client did not wait for the answer
STATUSES = {
    400: "the body cannot be read as what it is said to be", 401: "no bearer token, or another one",
    403: "the uri is none that this service reads", 408: "the body did not come in time",
    413: "the clip is larger than --max-mb", 415: "the content type is none that is taken",
    422: "the clip cannot be scored, or what is told of it breaks a rule: see `code`",
    500: "an error of the service", 503: "the queue is full, or the disk: ask again after Retry-After",
    504: "there was no score after --answer-s",
}  # fmt: skip
_CLIP_STATUS = {"not_allowed": 403, "oversized": 413}  # others: 422


class Submitted(Protocol):
    """A clip whose score is to come."""

    outcome: "Future[Judged]"


class Scores(Protocol):
    """What scores clips: pipeline.serve.scorer.Scorer."""

    @property
    def waiting(self) -> int: ...

    @property
    def is_well(self) -> bool: ...

    def submit(self, batch: Batch, release: Release) -> Submitted | None: ...


class Refused(Exception):
    """A request that is answered with a problem."""

    def __init__(self, status: int, code: str, detail: str):
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


class Service:
    """Requests under way.

    Args:
        folder: for clips that are uploaded.
    """

    def __init__(self, scorer: Scores, fetches: Fetches, facts: RunFacts, options: ServeOptions, folder: Path):
        self._scorer, self._fetches, self._facts = scorer, fetches, facts
        self._options, self._folder = options, folder
        self._arriving = 0  # bodies

    async def score(self, request: Request, fields: Annotated[Fields, Query()]) -> Answer:
        """Score one clip: a film as the body or in a form, or the uri of one as JSON."""
        _check_once(name for name, _ in request.query_params.multi_items())
        kind = request.headers.get("content-type", "application/octet-stream").split(";")[0].strip().lower()
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise Refused(415, "content_encoding", "the body is compressed; send it without Content-Encoding")
        clip_id, shown = uuid.uuid4().hex, "the clip"
        if kind == "application/json":
            with self._arrival():  # not while the uri is fetched: servers that do not answer are to keep no film out
                body = await bodies.read_small(request, _JSON_BYTES, self._options.body_s)
            told: Fields = _merged(fields, asked := _told(ScoreUri, body))
            shown = asked.uri
            path, release = await self._fetch(request, asked.uri)
            job = await self._submit(clip_id, path, release, told)
        else:
            with self._arrival():
                path, release, told = await self._receive(request, kind, fields, self._folder / clip_id)
                job = await self._submit(clip_id, path, release, told)
        judged = await self._outcome(request, job.outcome)
        judged = replace(
            judged, reason=judged.reason.replace(path, visible(shown))
        )  # where it lay is nobody's business
        if judged.status == "failed":
            raise ClipError(judged.code, judged.reason)
        return answer(request.state.request_id, told.challenge, self._facts, judged)

    async def _submit(self, clip_id: str, path: str, release: Release, told: Fields) -> Submitted:
        """Have the scorer take a clip; its file is let go of where it does not."""
        job = None
        try:
            cells = {"challenge": clip_id, **told.cells(), "clip_id": clip_id, "uri": path}
            batch = await asyncio.to_thread(clip_batch, cells)
            job = self._scorer.submit(batch, release)
        finally:
            if job is None:
                release()
        if job is None:
            raise _full("the queue")
        return job

    async def health(self) -> Health:
        """Whether the service works."""
        if not self._scorer.is_well:
            raise Refused(503, "failing", "the last clips ended by errors of the service; its log has them")
        waiting, queue = self._scorer.waiting, self._options.queue
        return Health(run=self._facts.run, waiting=waiting, queue=queue)

    async def ready(self) -> Health:
        """Whether a clip would be taken now."""
        if self._scorer.waiting >= self._options.queue:
            raise _full("the queue")
        return await self.health()

    # --- the body

    @contextmanager
    def _arrival(self) -> Iterator[None]:
        if self._scorer.waiting >= self._options.queue or self._arriving >= self._options.queue:
            raise _full("the queue")
        self._arriving += 1
        try:
            yield
        finally:
            self._arriving -= 1

    async def _receive(self, request: Request, kind: str, fields: Fields, path: Path) -> tuple[str, Release, Fields]:
        """Path of the clip's file, the function that lets go of it, and what is told of the clip."""
        if kind != "multipart/form-data" and kind != "application/octet-stream" and not kind.startswith("video/"):
            raise Refused(
                415, "content_type",
                f"content type {visible(kind[:100])}: send a film as video/mp4 (any of video/) or"
                " application/octet-stream, a form as multipart/form-data, a uri as application/json",
            )  # fmt: skip
        limit, body_s = self._options.max_bytes, self._options.body_s
        try:
            if kind == "multipart/form-data":
                form = await bodies.write_form(request, path, FIELDS, limit, body_s)
                fields = _merged(fields, _told(Fields, form))
            else:
                await bodies.write_file(bodies.chunks(request, limit, body_s), path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return str(path), lambda: path.unlink(missing_ok=True), fields

    async def _fetch(self, request: Request, uri: str) -> tuple[str, Release]:
        check_asked(uri, self._options.allow_uri)
        if scheme(uri) == "file":
            return str(storage.local_path(uri)), _nothing
        outcome = self._fetches.fetch(uri)
        if outcome is None:
            raise _full("the queue of fetches")
        taken = None
        try:
            taken = await self._outcome(request, outcome)
            return taken
        finally:
            if taken is None and not outcome.cancel() and outcome.exception() is None:  # it came in this moment
                outcome.result()[1]()

    async def _outcome(self, request: Request, outcome: "Future[T]") -> T:
        """The outcome, for as long as the client waits for it. Else it is cancelled."""
        waiting: asyncio.Future[Any] = asyncio.wrap_future(outcome)
        gone: asyncio.Future[Any] = asyncio.create_task(_client_gone(request))
        try:
            done, _ = await asyncio.wait(
                [waiting, gone], timeout=self._options.answer_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            gone.cancel()
            outcome.cancel()  # without effect where it is done
        if waiting in done:
            return waiting.result()
        if gone in done:
            raise ClientDisconnect
        raise Refused(504, "answer_deadline", f"there is no score after {self._options.answer_s:g} s; ask again later")


def make_app(service: Service, options: ServeOptions) -> ASGIApp:
    """The service as an ASGI application, with its description at /openapi.json, and no page that loads scripts."""
    app = FastAPI(
        title="vdv", version="1", summary="Scores of dance clips within their challenge.",
        docs_url=None, redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    guard = [Depends(HTTPBearer(auto_error=False)), Depends(_guard(options.token))] if options.token else []
    statuses = [status for status in STATUSES if status != 401 or options.token]
    app.add_api_route(
        "/score", service.score, methods=["POST"], response_model=Answer, dependencies=guard,
        responses=_responses(*statuses), openapi_extra={"requestBody": request_body()},
    )  # fmt: skip
    for path, endpoint in (("/health", service.health), ("/ready", service.ready)):
        app.add_api_route(path, endpoint, response_model=Health, responses=_responses(503))

    async def answer_error(request: Request, error: Exception) -> Response:
        return _answer_error(request, error, options)

    for kind in (
        Refused, ClipError, ManifestError, RequestValidationError, HTTPException, ClientDisconnect, bodies.TooLarge,
        bodies.TooSlow, bodies.BadForm, Exception,
    ):  # fmt: skip
        app.add_exception_handler(kind, answer_error)
    described = app.openapi
    app.openapi = lambda: app.openapi_schema or complete(described())  # type: ignore[method-assign]
    return _Logged(app)


def _responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    retry = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    return {
        status: {"model": Problem, "description": STATUSES[status]} | ({"headers": retry} if status == 503 else {})
        for status in statuses
    }


def _guard(token: str) -> Callable[[Request], None]:
    expected = f"Bearer {token}".encode()

    async def check(request: Request) -> None:
        if not hmac.compare_digest(request.headers.get("authorization", "").encode("latin-1"), expected):
            detail = "send the service's token as Authorization: Bearer"
            raise HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})

    return check  # type: ignore[return-value]


def _told(model: type[M], given: bytes | dict) -> M:
    """What a client tells, checked."""
    try:
        return model.model_validate_json(given) if isinstance(given, bytes) else model.model_validate(given)
    except ValidationError as error:
        if any(one["type"] == "json_invalid" for one in error.errors()):
            raise Refused(400, "json", "the body is no JSON") from error
        raise RequestValidationError(error.errors()) from error


def _check_once(names: Iterable[str]) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise Refused(422, "fields", f"{visible(twice[0][:100])}: it is told twice")


def _merged(of_query: Fields, told: F) -> F:
    """What the body tells of a clip, with what the query does."""
    more = of_query.model_dump(exclude_none=True)
    _check_once([*more, *told.model_dump(exclude_none=True)])
    return told.model_copy(update=more)


def _full(what: str) -> Refused:
    return Refused(503, "full", f"{what} is full; ask again in {_RETRY_S} s")


async def _client_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _nothing() -> None:
    """Release of a file that is nobody's here."""


# --- errors


def _answer_error(request: Request, error: Exception, options: ServeOptions) -> Response:
    if isinstance(error, ClientDisconnect):
        return Response(status_code=_GONE)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    status, code, detail = _named(error, options)
    if status == 503:
        headers["Retry-After"] = str(_RETRY_S)
    return _problem(request.state.request_id, status, code, detail, headers)


def _named(error: Exception, options: ServeOptions) -> tuple[int, str, str]:
    """Status, code and detail of an error."""
    if isinstance(error, Refused):
        return error.status, error.code, error.detail
    if isinstance(error, ClipError):
        return _CLIP_STATUS.get(error.code, 422), error.code, error.reason
    if isinstance(error, ManifestError):
        return 422, "fields", str(error)
    if isinstance(error, RequestValidationError):
        return 422, "fields", "; ".join(_fault(one) for one in error.errors()[:5])
    if isinstance(error, HTTPException):
        return error.status_code, HTTPStatus(error.status_code).name.lower(), str(error.detail)
    if isinstance(error, bodies.TooLarge):
        return 413, "oversized", f"a clip may have {options.max_mb} MiB (--max-mb), and JSON {_JSON_BYTES} bytes"
    if isinstance(error, bodies.TooSlow):
        stated = f"{bodies.STALL_S:g} s without a byte, or more than {options.body_s:g} s in all"
        return 408, "slow", f"the body did not come in time: {stated}"
    if isinstance(error, bodies.BadForm):
        return 400, "form", str(error)
    if is_disk_full(error):
        return 503, "disk_full", "the service's disk is full; ask again later"
    return 500, "error", "an error of the service; its log has it under the request's id"


def _fault(error: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in error["loc"] if part not in ("query", "body"))
    return f"{visible(place[:100]) or 'the body'}: {error['msg']}"


def _problem(request_id: str, status: int, code: str, detail: str, headers: dict[str, str]) -> Response:
    title = HTTPStatus(status).phrase
    content = Problem(title=title, status=status, code=code, detail=detail, request_id=request_id)
    return Response(content.model_dump_json(), status, headers, media_type=PROBLEM)


class _Logged:
    """Gives each request an id, in its answer and in the one line that is logged of it."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id, start, status = uuid.uuid4().hex, time.monotonic(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        scope.setdefault("state", {})["request_id"] = request_id
        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            log.error(f"request {request_id}: {type(error).__name__}", exc_info=error)
        finally:
            took = time.monotonic() - start
            log.info(f"request {request_id}: {scope['method']} {visible(scope['path'][:100])} {status} {took:.3f} s")
