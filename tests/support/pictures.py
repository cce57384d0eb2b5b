"""Pictures as files hold them."""

import functools
import io

from PIL import Image


@functools.cache
def jpeg(tone: int) -> bytes:
    """A 160 x 160 px JPEG of one grey tone, which decodes to exactly that tone."""
    buffer = io.BytesIO()
    Image.new("RGB", (160, 160), (tone, tone, tone)).save(buffer, "JPEG")
    return buffer.getvalue()
