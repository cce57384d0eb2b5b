"""The report as one HTML file that needs nothing but a browser: no network, no other file.

template.html.j2 holds the frame and the overview, which needs no script. *.css are its looks, *.js are ES modules, each
one idea; main.js starts them. They import each other by an import map of data URLs (a file that was opened from a disk
may not import its neighbours). The charts are Vega-Lite's; its code stays in the page as text until a chart comes into
sight.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from importlib.resources import files
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from models.virality.skeleton import COCO17
from pipeline.evaluation.predictors import MODEL, MUST_BEAT
from pipeline.modalities.registry import title_of
from pipeline.report import sentences

MEDIA_BLOCK = 64  # clips in one of the media blocks
# Later rules win over earlier ones.
STYLES = ("tokens.css", "frame.css", "parts.css", "table.css", "views.css", "clip.css", "print.css")
FIRST = "main"  # the module that starts the others
# By an element, for what a script that stands in the page imports is not trusted with it (CSP's strict-dynamic).
_START = f"""const start = document.createElement("script");
start.type = "module";
start.src = import.meta.resolve("report/{FIRST}");
document.head.append(start);"""
_VEGA = "window.vegaEmbed = vegaEmbed;"


def make_page(payload: Mapping[str, Any], media: Sequence[Any]) -> str:
    """The page's text.

    Args:
        payload: docs/report.md lists its fields.
        media: blocks of MEDIA_BLOCK clips each, in the clips' order; parsed by the browser when one is looked at.

    Raises:
        ValueError: a number that JSON does not know (NaN, infinity).
    """
    sections = sentences.sections(payload["quality"]["table"])
    return _environment().get_template("template.html.j2").render(
        payload=payload,
        headlines=sentences.headlines(payload),
        sections=[rows for section, rows in sections.items() if section in (MODEL, *MUST_BEAT)],
        more_sections=[rows for section, rows in sections.items() if section not in (MODEL, *MUST_BEAT)],
        data=embedded(payload),
        layout=embedded({"joints": COCO17.joints, "edges": COCO17.edges}),
        media=[embedded(block) for block in media],
        media_block=MEDIA_BLOCK,
        style=_style(),
        scripts=_scripts(),
        policy=policy(_style(), _scripts().values()),
    )  # fmt: skip


def policy(style: str, scripts: Iterable[str]) -> str:
    """Content security policy of a page that runs these scripts, and what they load, and has this style and no other.

    Nothing is fetched, sent or framed, and no text is run as code, whatever got into the page.
    """
    rules = {
        "default-src": "'none'", "script-src": f"'strict-dynamic' {' '.join(map(_hash, scripts))}",
        "style-src": _hash(style), "img-src": "data:", "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip
    return "; ".join(f"{what} {allowed}" for what, allowed in rules.items())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def embedded(value: Any) -> Markup:
    """JSON that may stand in a <script>: no character of it can end the element or a line of JavaScript."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def media_blocks(entries: Mapping[int, dict], clips: int) -> list[dict[str, dict]]:
    """Blocks of MEDIA_BLOCK clips, in the clips' order: the clips' entries, where they have one, by row as text."""
    blocks: list[dict[str, dict]] = [{} for _ in range(-(-clips // MEDIA_BLOCK))]
    for row in sorted(entries):
        blocks[row // MEDIA_BLOCK][str(row)] = entries[row]
    return blocks


def module_names() -> list[str]:
    names = [file.name for file in (files(__package__) / "page").iterdir()]
    return sorted(name.removesuffix(".js") for name in names if name.endswith(".js"))


@cache
def _text(name: str) -> str:
    return files(__package__).joinpath("page", name).read_text(encoding="utf-8")


def _data_url(name: str) -> str:
    # Developer tools show the module under the name in the last line.
    source = f"{_text(f'{name}.js')}\n//# sourceURL=report/{name}.js\n"
    return f"data:text/javascript;base64,{base64.b64encode(source.encode()).decode()}"


@cache
def _style() -> Markup:
    return Markup("\n".join(_text(name) for name in STYLES))


@cache
def _scripts() -> Mapping[str, Markup]:
    """The page's own scripts, which run as they are written here or not at all."""
    return {
        "scripted": Markup('document.documentElement.classList.add("scripted");'),
        "modules": embedded({"imports": {f"report/{name}": _data_url(name) for name in module_names()}}),
        "first": Markup(_START),
        "charts": charts_script(),
    }


@cache
def charts_script() -> Markup:
    """Vega-Embed with Vega and Vega-Lite as one script."""
    source = vl_convert.javascript_bundle(_VEGA).replace("</script", "<\\/script")
    return Markup(f"(() => {{{source}}})();")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": sentences.count,
        "estimate": sentences.estimate,
        "number": sentences.number,
        "percent": sentences.percent,
        "signed": sentences.signed,
        "clip_link": sentences.clip_link,
        "title_of": title_of,
        "zip": partial(zip, strict=True),
    }
    return environment
