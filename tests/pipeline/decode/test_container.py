"""What opening a strange file reaches beside that file, and what it costs: nothing."""

from pathlib import Path

import pytest

from pipeline.core.errors import ClipError
from pipeline.core.options import DecodeLimits
from pipeline.decode import container
from pipeline.decode.container import fetch, open_clip
from tests.support.made_films import Track, write
from tests.support.web_server import web_server

PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{uri}\n#EXT-X-ENDLIST\n"
SCRIPT = "ffconcat version 1.0\nfile {uri}\n"


@pytest.mark.parametrize("barred", ["by their kind", "by protocol"])
@pytest.mark.parametrize("text", [PLAYLIST, SCRIPT])
def test_a_playlist_opens_neither_a_file_nor_a_url(
    tmp_path: Path, text: str, barred: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two bars, of which each has to hold alone.
    if barred == "by protocol":
        monkeypatch.setattr(container, "_CONTAINERS", f"{container._CONTAINERS},hls,concat")
    else:
        monkeypatch.setattr(container, "_PROTOCOLS", "file,http,tcp")
    write(tmp_path / "film.ts", Track())
    with web_server(tmp_path) as server:
        for uri in ("film.ts", f"{server.url}/film.ts"):
            playlist = tmp_path / "playlist.mp4"
            playlist.write_text(text.format(uri=uri))
            with pytest.raises(ClipError) as caught:
                open_clip(fetch(str(playlist)), DecodeLimits())
            assert caught.value.code in ("not_a_video", "no_video_stream")
        assert not server.asked
