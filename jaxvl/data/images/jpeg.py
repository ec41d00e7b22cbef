"""The segments of a JPEG file: what stands before the pixels, and taking out what tells of people.

Source: ITU-T T.81, annex B.
"""

import re
from collections.abc import Iterator

SCAN, END, COMMENT = 0xDA, 0xD9, 0xFE
_ALONE = frozenset({0x01, *range(0xD0, 0xDA)})  # markers without a length
_APPLICATION = range(0xE0, 0xF0)
# Of the data of applications, what decoders need. The rest is EXIF with place and camera, XMP,
# IPTC, previews.
_NEEDED = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # inside a scan; others there belong to it


# (marker, where it starts, where its content starts, where it ends)
Segment = tuple[int, int, int, int]


def segments(jpeg: bytes) -> Iterator[Segment]:
    """Yields the segments before the first scan, and the head of the scan as the last one.

    Raises ValueError where the bytes are not made of segments.
    """
    if jpeg[:2] != b"\xff\xd8":
        raise ValueError("not a JPEG")
    at = 2
    while True:
        segment = _segment(jpeg, at)
        yield segment
        marker, _, _, at = segment
        if marker == SCAN:
            return


def _segment(jpeg: bytes, start: int) -> Segment:
    at = start
    while jpeg[at : at + 2] == b"\xff\xff":  # any number of these may fill up
        at += 1
    if len(jpeg) < at + 4 or jpeg[at] != 0xFF:
        raise ValueError("not a segment")
    marker = jpeg[at + 1]
    if marker == END:
        raise ValueError("the image ends before its pixels")
    if marker in _ALONE:
        return marker, start, at + 2, at + 2
    end = at + 2 + (jpeg[at + 2] << 8 | jpeg[at + 3])
    if end > len(jpeg):
        raise ValueError("a segment is cut off")
    return marker, start, at + 4, end


def without_metadata(jpeg: bytes) -> bytes:
    """Returns the same image without EXIF, XMP, IPTC, comments, and what follows its end.

    Every pixel and the colour profile stay. Where there is nothing to take out, the bytes are the
    same. Raises ValueError where the bytes are not made of segments.
    """
    head = list(segments(jpeg))
    kept = [
        jpeg[start:end]
        for marker, start, content, end in head
        if not _is_metadata(marker, jpeg[content:end])
    ]
    pixels = head[-1][-1]
    return b"".join([jpeg[:2], *kept, jpeg[pixels : _end(jpeg, pixels)]])


def _is_metadata(marker: int, content: bytes) -> bool:
    if marker in _APPLICATION:
        needed = _NEEDED.get(marker)
        return needed is None or not content.startswith(needed)
    return marker == COMMENT


def _end(jpeg: bytes, at: int) -> int:
    """Returns where the image ends. at: where the content of its first scan starts."""
    while marker := _MARKER.search(jpeg, at):
        if jpeg[marker.start() + 1] == END:
            return marker.end()
        *_, at = _segment(jpeg, marker.start())
    raise ValueError("the image has no end")
