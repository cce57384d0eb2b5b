"""The page as a file, without a browser: one piece, nothing from outside, small enough, no JSON that ends a script."""

import json
import math
import re
from typing import Any

import pytest

from models.virality.skeleton import COCO17
from pipeline.report import sentences
from pipeline.report.page_file import embedded, make_page, module_names
from tests.report_browser.conftest import make_payload, page_of


def block(source: str, name: str) -> Any:
    script = re.search(rf'<script [^>]*id="{name}">(.*?)</script>', source, re.DOTALL)
    assert script is not None
    return json.loads(script.group(1))


def test_the_payload_and_the_media_come_back_as_they_were() -> None:
    payload, media = make_payload(256)
    source = make_page(payload, media)
    assert block(source, "data") == payload
    assert [block(source, f"media-{place}") for place in range(4)] == media
    assert block(source, "layout") == {"joints": list(COCO17.joints), "edges": [list(edge) for edge in COCO17.edges]}


def test_5000_clips_are_under_25_mb() -> None:
    assert len(page_of(5000).encode()) < 25e6


def test_nothing_is_loaded_from_outside() -> None:
    source = page_of(1)
    without_charts = re.sub(r'<script type="text/plain" id="charts">.*?</script>', "", source, flags=re.DOTALL)
    assert "http" not in without_charts.replace("http-equiv", "")
    assert not re.search(r"(src|href)=\"(?!#|data:)", without_charts)


def test_no_value_can_end_its_script() -> None:
    value = "</script><!--\u2028\u2029&"
    text = embedded({"name": value})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"name": value}
    with pytest.raises(ValueError, match="JSON"):
        embedded(math.nan)


def test_every_module_is_in_the_page_and_small() -> None:
    imports = block(page_of(1).replace('type="importmap"', 'id="importmap"'), "importmap")["imports"]
    assert set(imports) == {f"report/{name}" for name in module_names()}
    assert len(imports) > 10


def test_the_page_says_what_the_order_is_without_faces_or_why_it_does_not() -> None:
    payload, media = make_payload(60)

    def said(**changed: Any) -> str:
        left_out = payload["quality"]["left_out"] | changed
        source = make_page(payload | {"quality": payload["quality"] | {"left_out": left_out}}, media)
        section = source.split('id="left-out-title"')[1].split("</section>")[0]
        return " ".join(re.sub(r"<[^>]+>", " ", section).split())

    measured = said()
    assert "face 0.95 0.90 1 of 6 5 % 15 %" in measured
    assert "face 0.65 (0.55 to 0.75) +0.05 (−0.05 to +0.15)" in measured
    assert "appearance, face, scene 0.85 0.70 3 of 6 15 % 45 %" in measured
    assert "Clips that move most without face clip-00000 (arms_up): from 90 % to 70 %" in measured
    assert "Clips that have no score without face: 1." in measured
    assert "takes clips that were judged by folds" in said(rows=[])
    assert "reads neither faces nor scenes" in said(rows=[], read=[])
    assert "nothing but" in said(rows=[], read=payload["modalities"])
    assert "not told here: face." in said(rows=[], not_read=["face"])


def row(title: str, section: str, spearman: float, by: tuple | None = None, pairs: tuple = (None, None, None)) -> dict:
    better = None if by is None else {"spearman": list(by)}
    ids = {"section_id": section, "predictor_id": "fused" if section == "model" else title}
    return {**ids, "title": title, "spearman": [spearman, None, None], "pairwise_accuracy": list(pairs),
            "model_better_by": better}  # fmt: skip


def texts(*table: dict, **quality: object) -> list[str]:
    payload, _ = make_payload(1)
    payload["quality"] |= {"table": list(table)} | quality
    return [one["text"] for one in sentences.headlines(payload)]


@pytest.mark.parametrize(
    ("by", "verdict"),
    [
        ((0.1, 0.05, 0.2), "the model is better"),
        ((-0.1, -0.2, -0.05), "the model is worse"),
        ((0.1, -0.05, 0.2), "neither is shown to be better"),
    ],
)
def test_the_strongest_rival_is_named_with_a_verdict(by: tuple[float, float, float], verdict: str) -> None:
    model = row("VDV", "model", 0.5, pairs=(0.7, 0.6, 0.8))
    weak, ridge = row("weak", "modality", 0.1, (0.4, 0.3, 0.5)), row("ridge", "no_network", 0.4, by)
    headlines = texts(model, weak, ridge, row("parts", "other_fusion", 0.0), row("own", "subset", 0.9, (0.0, 0.0, 0.0)))
    assert "70 % of all cases (95 % interval 60 % to 80 %)" in headlines[0]
    assert "2 rivals, ridge" in headlines[1]
    assert headlines[1].endswith(f"{verdict}.")


def test_without_folds_the_clips_held_out_speak_and_else_the_reason() -> None:
    held_out = {"split": "test", "predictor": "fused", "pairwise": 0.66, "n": 12}
    assert "66 % of all cases, judged by the 12 clips held out" in texts(splits=[held_out])[0]
    assert "cannot be said: 2 labelled clips are too few." in texts()[0]
    assert "cannot be said" in texts(splits=[held_out | {"pairwise": None}])[0]
    assert "cannot be said: no clips" in texts(folds=None)[0]


def test_numbers_read_as_people_write_them() -> None:
    assert sentences.estimate([0.5, 0.25, 0.75]) == "0.50 (0.25 to 0.75)"
    assert sentences.estimate([-0.5, None, None], sign=True) == "−0.50"
    assert sentences.percent(None) == sentences.number(None) == sentences.count(None) == "–"
    assert sentences.plural(1, "clip") == "1 clip"
    assert sentences.plural(1234, "clip") == "1,234 clips"
    assert sentences.clip_link("a/b <c>") == "#clip/a%2Fb%20%3Cc%3E"
