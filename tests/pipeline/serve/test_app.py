"""What the service takes over HTTP, and what it answers, with clips scored at a word."""

import errno
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.serve_clients import (
    HOSTILE,
    Raw,
    ask,
    endless,
    gone_midway,
    gone_while_waiting,
    huge_by_its_word,
    silent,
    slow,
    stalled,
)
from pipeline.core import storage
from pipeline.serve import server
from pipeline.serve.answers import Judged
from pipeline.serve.app import STATUSES
from pipeline.serve.scorer import is_defect
from tests.docs.pages import ROOT, find
from tests.support.served import FILM, GOOD, Served


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(server, "HEAD_S", 1.0)
    with closing(Served(tmp_path)) as made:
        yield made
        assert not list(tmp_path.iterdir()), "a request's file is left"


def is_logged(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    """Whether the log has a text, at the latest soon after the answer."""
    until = time.monotonic() + 5
    while text not in caplog.text and time.monotonic() < until:
        time.sleep(0.01)
    return text in caplog.text


@contextmanager
def form(*parts: tuple[str, str]) -> Iterator[tuple[bytes, str]]:
    lines = [f"--x\r\nContent-Disposition: form-data; {about}\r\n\r\n{content}\r\n" for about, content in parts]
    yield ("".join(lines) + "--x--\r\n").encode(), "multipart/form-data; boundary=x"


def test_a_film_as_the_body_is_scored_and_forgotten(served: Served) -> None:
    reply = served.post(FILM, query="?challenge=wave&followers=12")
    assert reply.status == 200
    assert {name: reply.content[name] for name in ("challenge", "score", "expected_percentile", "low", "high")} == {
        "challenge": "wave", "score": 1.5, "expected_percentile": 0.75, "low": 0.5, "high": 1.0,
    }  # fmt: skip
    assert served.scorer.films == [FILM]
    assert served.scorer.jobs[0].batch.rows[["challenge", "followers"]].iloc[0].tolist() == ["wave", 12]


def test_parts_and_what_is_missing_are_told_as_numbers_and_in_words(served: Served) -> None:
    content = served.post(FILM).content
    assert [(part["modality"], part["score"], part["code"]) for part in content["parts"]] == [
        ("pose", 1.5, None), ("audio", None, "no_sound"),
    ]  # fmt: skip
    assert [reason["text"] for reason in content["reasons"]] == [
        "The clip is judged by its other modalities, and its score is drawn to the middle.",
        "Pose adds 1.50 to the score; its weight is 100 %.",
        "Sound is not judged: the file has no audio stream.",
    ]


def test_a_form_s_file_is_taken_whatever_it_is_called(served: Served) -> None:
    with form(('name="clip"; filename="../../etc/cron.d/x"', "film"), ('name="creator_id"', "ann")) as (body, kind):
        assert served.post(body, kind).status == 200
    assert served.scorer.films == [b"film"]
    assert served.scorer.jobs[0].batch.rows["creator_id"].iat[0] == "ann"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([('name="chalenge"', "wave"), ('name="clip"; filename="a"', "film")], "chalenge is no field"),
        ([('name="clip"', "no file")], "no file `clip`"),
        ([('name="clip"; filename="a"', "film"), ('name="x"; filename="b"', "film")], "Too many files"),
        ([('name="clip"; filename="a"', "film")] + [('name="challenge"', "wave")] * 2, "a field twice"),
    ],
)
def test_a_form_that_is_not_as_described_is_refused(served: Served, parts: list, said: str) -> None:
    with form(*parts) as (body, kind):
        reply = served.post(body, kind)
    assert (reply.status, reply.content["code"]) == (400, "form")
    assert said in reply.content["detail"]
    assert not served.scorer.jobs


def test_fields_obey_the_rules_of_manifests_and_are_named_where_they_do_not(served: Served) -> None:
    for query, said in (
        ("?followers=12k", "followers"), ("?chalenge=wave", "chalenge"), ("?uploaded_at=yesterday", "ISO 8601"),
        ("?challenge=%01", "'challenge'"),
    ):  # fmt: skip
        reply = served.post(FILM, query=query)
        assert (reply.status, reply.content["code"]) == (422, "fields"), query
        assert said in reply.content["detail"], query
    assert not served.scorer.jobs


def test_what_is_told_counts_in_the_query_and_in_the_body_and_twice_nowhere(served: Served) -> None:
    with form(('name="clip"; filename="x"', "a film")) as (body, kind):
        assert served.post(body, kind, "?challenge=wave").content["challenge"] == "wave"
    with form(('name="clip"; filename="x"', "a film"), ('name="challenge"', "wave")) as (body, kind):
        both = served.post(body, kind, "?challenge=wave")
        assert served.post(body, kind, "?creator_id=ann").content["challenge"] == "wave"
    for reply in (both, served.post(FILM, query="?challenge=a&challenge=b")):
        assert (reply.status, reply.content["detail"]) == (422, "challenge: it is told twice")


def test_a_client_is_not_told_where_its_clip_lay(served: Served) -> None:
    served.scorer.judge = lambda job: replace(GOOD, status="failed", code="empty", reason=f"{job.path} holds 0 bytes")
    assert served.post(FILM).content["detail"] == "the clip holds 0 bytes"


def test_a_clip_that_ended_badly_is_answered_with_its_code(served: Served) -> None:
    served.scorer.result = Judged("failed", "no_frames", "not one frame decodes")
    reply = served.post(FILM)
    assert (reply.status, reply.content["code"], reply.content["detail"]) == (422, "no_frames", "not one frame decodes")
    served.scorer.result = GOOD
    assert served.post(FILM).status == 200


def test_a_clip_without_any_evidence_has_no_score_and_says_so(served: Served) -> None:
    nothing = {"score": None, "expected_percentile": None, "low": None, "high": None, "abstained": True}
    scores = {**GOOD.scores, **nothing, "score_pose": None, "known_challenge": False}
    served.scorer.result = replace(GOOD, status="partial", code="truncated", reason="it ends", scores=scores)
    content = served.post(FILM).content
    assert (content["score"], content["abstained"], content["status"]) == (None, True, "partial")
    warned = [reason["code"] for reason in content["reasons"] if reason["kind"] == "warning"]
    assert warned == ["abstained", "unknown_challenge", "truncated"]


def test_an_error_of_the_service_is_answered_as_such_and_the_next_clip_is_scored(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.scorer.result = ZeroDivisionError("secret")
    reply = served.post(FILM)
    assert (reply.status, reply.content["code"]) == (500, "error")
    assert "secret" not in json.dumps(reply.content)
    assert is_logged(caplog, f"request {reply.content['request_id']}: ZeroDivisionError")
    served.scorer.result = GOOD
    assert served.post(FILM).status == 200


def test_a_disk_that_fills_while_a_clip_is_worked_on_is_told_as_such_and_no_reason_to_start_anew(
    served: Served,
) -> None:
    full = storage.workspace_error("write", "x.parquet", OSError(errno.ENOSPC, "No space left on device"))
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    served.scorer.result = full
    reply = served.post(FILM)
    assert (reply.status, reply.content["code"]) == (503, "disk_full")
    assert not is_defect(full)
    assert not is_defect(GOOD)
    assert is_defect(ZeroDivisionError())


def test_who_finds_the_queue_full_is_told_when_to_come_again_and_nobody_else_is_lost(served: Served) -> None:
    served.scorer.result = None
    with ThreadPoolExecutor(2) as threads:
        taken = [threads.submit(served.post, FILM) for _ in range(served.options.queue)]
        while served.scorer.waiting < served.options.queue:
            time.sleep(0.01)
        assert ask(served.address, "GET", "/ready").status == 503
        with Raw(served.address) as raw:
            raw.send(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\na film")
            answered = raw._socket.recv(4096).decode()
        assert answered.startswith("HTTP/1.1 503")
        assert "retry-after: 5" in answered
        for job in served.scorer.jobs:
            job.settle(GOOD)
        assert [future.result().status for future in taken] == [200, 200]
    assert ask(served.address, "GET", "/ready").status == 200


def test_a_client_that_goes_away_is_dropped_from_the_queue(served: Served) -> None:
    served.scorer.result = None
    gone_while_waiting(served.address, FILM)
    gone_midway(served.address, FILM)
    until = time.monotonic() + 10
    while not (served.scorer.jobs and served.scorer.jobs[0].outcome.cancelled()):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert len(served.scorer.jobs) == 1
    served.scorer.result = GOOD
    assert served.post(FILM).status == 200


def test_who_waits_too_long_is_told_so(tmp_path: Path) -> None:
    with closing(Served(tmp_path, "--answer-s", "0.3")) as served:
        served.scorer.result = None
        reply = served.post(FILM)
        assert (reply.status, reply.content["code"]) == (504, "answer_deadline")
        assert served.scorer.jobs[0].outcome.cancelled()


@pytest.mark.parametrize("client", [huge_by_its_word, endless, slow, stalled, silent], ids=lambda one: one.__name__)
def test_a_body_without_end_or_beyond_the_limit_is_refused(served: Served, client: Callable[[str, bytes], int]) -> None:
    start = time.monotonic()
    assert client(served.address, FILM) in HOSTILE[client]
    assert time.monotonic() - start < 20
    assert not served.scorer.jobs
    assert served.post(FILM).status == 200


def test_a_body_that_is_no_http_is_no_error_of_the_service(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with Raw(served.address) as raw:
        raw.send(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n")
        assert raw._socket.recv(4096).startswith(b"HTTP/1.1 400 ")
    assert is_logged(caplog, "POST /nowhere")
    assert served.post(FILM).status == 200
    assert not [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


def test_a_film_of_just_the_limit_is_taken_and_one_of_a_byte_more_is_not(served: Served) -> None:
    assert served.post(bytes(2**20)).status == 200
    assert served.post(bytes(2**20 + 1)).status == 413
    for blocks, status in (([bytes(2**20)], 200), ([bytes(2**20), b"x"], 413)):  # of a length that is not stated
        assert ask(served.address, "POST", "/score", iter(blocks), content_type="video/mp4").status == status
    for extra, status in ((0, 200), (1, 413)):
        with form(('name="clip"; filename="a"', "x" * (2**20 + extra))) as (body, kind):
            assert served.post(body, kind).status == status


@pytest.mark.parametrize(
    ("kind", "headers", "status"),
    [
        ("text/html", {}, 415), ("application/x-www-form-urlencoded", {}, 415), ("VIDEO/WebM; codecs=vp9", {}, 200),
        ("video/mp4", {"content_encoding": "gzip"}, 415), ("application/json", {}, 400),
        ("multipart/form-data", {}, 400),
    ],
)  # fmt: skip
def test_content_types_are_taken_at_their_word(served: Served, kind: str, headers: dict, status: int) -> None:
    assert served.post(FILM, kind, **headers).status == status


def test_errors_are_problems_of_one_form_with_the_id_that_is_in_the_log(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for reply in (
        ask(served.address, "GET", "/nowhere"),
        ask(served.address, "GET", "/docs"),
        ask(served.address, "GET", "/score"),
        served.post(b"[" * 10**4, "application/json"),
    ):
        assert set(reply.content) == {"type", "title", "status", "code", "detail", "request_id"}
        assert reply.content["status"] == reply.status
        assert is_logged(caplog, f"request {reply.content['request_id']}: ")


def test_the_page_has_every_status_of_the_description(served: Served) -> None:
    described = ask(served.address, "GET", "/openapi.json").content["paths"]["/score"]["post"]["responses"]
    assert {int(status) for status in described} == {200, *STATUSES} - {401}
    rows = find(r"^\| ([\d, ]+) \|", ROOT / "docs/serve.md")
    on_page = {int(status) for _, match in rows for status in match[1].split(",")}
    assert on_page == {*STATUSES, 404, 405}


def test_a_token_is_asked_for_where_the_environment_holds_one(tmp_path: Path) -> None:
    with closing(Served(tmp_path, environment={"VDV_SERVE_TOKEN": "secret"})) as served:
        assert served.post(FILM).status == 401
        assert served.post(FILM, authorization="Bearer other").status == 401
        assert served.post(FILM, authorization="Bearer secret").status == 200
        assert ask(served.address, "GET", "/health").status == 200
        description = ask(served.address, "GET", "/openapi.json").content
        assert "401" in description["paths"]["/score"]["post"]["responses"]
