"""Verdicts drawn for people: on a copy of the picture, and around a heat map. Pillow only.

    marked(picture.image, verdict, "photo.jpg").save("photo.png")       # a strip above, a box and a label for each face
    framed(explanation, verdict, "photo.jpg").save("photo.heat.png")    # title, scale and what the map is worth

Each word stands on a ground of its own, so colour only repeats what is written.
"""

import math
import unicodedata
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from detector import FaceVerdict, Verdict
from judging.explain import HOT, OPACITY, Explanation, colours
from names import UNSURE, percent

SMALLEST = 480  # pixels, longer side: smaller pictures are enlarged, or no word would fit beside a face
MIN_TEXT = 15  # pixels, height of the smallest letters
PER_LINE = 30  # letters, about, that fit on a line of the strip at the least
INSIDE = 0.3  # share of a face that its label may hide, where there is no room around it
MANY = 24  # faces; the words of more are smaller, or they would outgrow the picture
LONGEST = 120  # letters of a file's name; the middle of a longer one is left out

INK, GROUND, GREY = "white", "black", (128, 128, 128)
WORDS = {"Real": "likely real", "Fake": "likely fake", UNSURE: "unsure"}
COLOURS = {"Real": (86, 180, 233), "Fake": (255, 125, 40), UNSURE: (240, 228, 66)}  # told apart by colour-blind eyes

Rectangle = tuple[float, float, float, float]  # left, top, right, bottom, pixels


def spoken(verdict: Verdict | FaceVerdict) -> str:
    """ "likely real (1 % fake)": a percentage that cannot be read as "1 % real"."""
    if verdict.score is None:
        return f"{WORDS[verdict.verdict]} (no score)"
    return f"{WORDS[verdict.verdict]} ({percent(verdict.score)} fake)"


def marked(image: Image.Image, verdict: Verdict, name: str) -> Image.Image:
    """A copy of an RGB image below a strip with its verdict; faces have boxes, numbered from 1 where there are several.

    A small image is enlarged by a whole factor, so that words fit.
    """
    factor = -(-SMALLEST // max(image.size))
    width, height = factor * image.width, factor * image.height
    ground = max(width, SMALLEST)
    size = max(MIN_TEXT, min(round((width * height) ** 0.5 / 40), ground // PER_LINE))
    lines = [(shortened(name), 0.8), (sentence_case(spoken(verdict)), 1.5)]
    lines += [(note, 0.8) for note in verdict.notes]
    if verdict.score is not None:
        lines += [("0 % fake: looks real. 100 % fake: looks fake. A score is not proof.", 0.8)]
    faces = [f"{number} {spoken(face)}" for number, face in enumerate(verdict.faces, 1)] if several(verdict) else []
    title = strip(ground, [(text, max(MIN_TEXT, round(share * size))) for text, share in lines], faces)
    sheet = Image.new("RGB", (ground, title.height + height), GREY)
    sheet.paste(title, (0, 0))
    enlarged = image.resize((width, height), Image.Resampling.BICUBIC) if factor > 1 else image
    at = ((ground - width) // 2, title.height)
    sheet.paste(enlarged, at)
    mark_faces(sheet, verdict, at, factor, max(MIN_TEXT, round(0.75 * size)))
    return sheet


def several(verdict: Verdict) -> bool:
    return len(verdict.faces) > 1


def mark_faces(sheet: Image.Image, verdict: Verdict, at: tuple[int, int], factor: int, size: int) -> None:
    """A box around each face and its label beside it, on the sheet, below the strip that ends where `at` begins.

    Where the words of one find no room, all are numbers; the strip has the words of each.
    """
    draw, line = ImageDraw.Draw(sheet), max(2, size // 8)
    room = (0, at[1], sheet.width, sheet.height)
    boxes = [around(face.box, at, factor, line, room) for face in verdict.faces]
    full, short = [spoken(face) for face in verdict.faces], [WORDS[face.verdict] for face in verdict.faces]
    if several(verdict):
        full = [f"{number} {text}" for number, text in enumerate(full, 1)]
        short = [str(number) for number in range(1, len(full) + 1)]
    labels = lay(draw, [(text, text.replace(" (", "\n(")) for text in full], size, boxes, room)
    labels = labels or lay(draw, [(text,) for text in short], size, boxes, room, crowded=True)
    colours_of = [COLOURS[face.verdict] for face in verdict.faces]
    # Black beside the colour, since that is seen on any picture. Labels come last: nothing crosses a word.
    for box, (_, place), colour in zip(boxes, labels, colours_of, strict=True):
        if not hides([(place[0] - line, place[1] - line, place[2] + line, place[3] + line)], [box]).any():
            draw.line(between(box, place), fill=GROUND, width=2 * line)
            draw.line(between(box, place), fill=colour, width=line)
    for box, colour in zip(boxes, colours_of, strict=True):
        draw.rectangle(box, outline=GROUND, width=2 * line)
        draw.rectangle(box, outline=colour, width=line)
    for (text, place), colour in zip(labels, colours_of, strict=True):
        draw.rectangle(place, fill=GROUND, outline=colour, width=max(1, line // 2))
        draw.multiline_text((place[0] + size // 3, place[1] + size // 4), text, font=font(size), fill=INK)


def around(box: Rectangle, at: tuple[int, int], factor: int, line: int, room: Rectangle) -> Rectangle:
    """A face's box on the sheet, wide enough that its line hides nothing of the face, cut at the picture's edge."""
    x, y, width, height = (factor * side for side in box)
    x, y, by = x + at[0], y + at[1], 2 * line
    left, top = max(room[0], x - by), max(room[1], y - by)
    right, bottom = min(room[2] - 1, x + width + by), min(room[3] - 1, y + height + by)
    return left, top, max(left, right), max(top, bottom)


def lay(draw, texts: list[tuple], size: int, boxes: list[Rectangle], room: Rectangle, *, crowded: bool = False):
    """[(text, place)] of each box's label, within the room; of its texts the first that finds a place.

    None where one finds none; if it is crowded, such a label stands farther off, or where it hides least.
    """
    labels: list[tuple[str, Rectangle]] = []
    for box, choice in zip(boxes, texts, strict=True):
        others = [place for _, place in labels] + [other for other in boxes if other is not box]
        found = next(filter(None, (near(draw, text, size, box, others, room) for text in choice)), None)
        if not found and not crowded:
            return None
        labels.append(found or away(draw, choice[-1], size, box, others, room))
    return labels


def near(draw, text: str, size: int, box: Rectangle, others: list[Rectangle], room: Rectangle):
    """(text, place): beside its box where that hides no face and no label, else within a box that is large enough."""
    wide, high = extent(draw, text, size)
    if wide >= room[2] - room[0] or high >= room[3] - room[1]:
        return None
    *beside, inner = (moved(place, room) for place in places(box, wide, high))
    free = [place for place, hidden in zip(beside, hides(beside, [box, *others]), strict=True) if not hidden]
    if not free and wide * high <= INSIDE * area(box) and not hides([inner], others).any():
        free = [inner]
    return (text, free[0]) if free else None


def away(draw, text: str, size: int, box: Rectangle, others: list[Rectangle], room: Rectangle):
    """(text, place): where a label hides least, and the line to its box crosses least."""
    wide, high = extent(draw, text, size)
    tried = [moved(place, room) for place in [*farther(box, wide, high), *places(box, wide, high)]]
    start, end = np.array([between(box, place) for place in tried]).swapaxes(0, 1)  # (places, 2) each: x, y
    points = start[:, None] + (end - start)[:, None] * np.linspace(0, 1, 21)[:, None]  # (places, 21, 2)
    left, top, right, bottom = np.array(others).reshape(-1, 4).T
    x, y = points[..., :1], points[..., 1:]
    crossed = ((left <= x) & (x <= right) & (top <= y) & (y <= bottom)).mean((1, 2)) if others else np.zeros(len(tried))
    hidden, length = hides(tried, [box, *others]), np.hypot(*(end - start).T)
    return text, tried[np.lexsort((length, crossed * length, hidden))[0]]


def extent(draw, text: str, size: int) -> tuple[float, float]:
    """Width and height of a label."""
    wide, high = draw.multiline_textbbox((0, 0), text, font=font(size))[2:]
    return wide + 2 * (size // 3), high + 2 * (size // 4)


def between(box: Rectangle, place: Rectangle) -> tuple[tuple[float, float], tuple[float, float]]:
    """A line from the middle of a label to the nearest point of its box."""
    x, y = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
    return (x, y), (max(box[0], min(x, box[2])), max(box[1], min(y, box[3])))


def hides(tried: list[Rectangle], others: list[Rectangle]) -> np.ndarray:
    """(places,): how many pixels of the others are hidden where something stands in each of these places."""
    one, other = np.array(tried, float).reshape(-1, 1, 4), np.array(others, float).reshape(1, -1, 4)
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    return sides.clip(0).prod(-1).sum(-1)


def places(box: Rectangle, wide: float, high: float) -> list[Rectangle]:
    """Where a label may stand: below, above, right, left of its box; last, at the bottom within it."""
    left, top, right, bottom = box
    corners = [(left, bottom + 1), (left, top - high - 1), (right - wide, bottom + 1), (right - wide, top - high - 1)]
    corners += [(right + 1, top), (left - wide - 1, top), (right + 1, bottom - high), (left - wide - 1, bottom - high)]
    corners += [((left + right - wide) / 2, bottom - high)]
    return [(x, y, x + wide, y + high) for x, y in corners]


def farther(box: Rectangle, wide: float, high: float) -> list[Rectangle]:
    """Places on rings around a box, the nearest first."""
    x, y = (box[0] + box[2] - wide) / 2, (box[1] + box[3] - high) / 2
    reach = (box[2] - box[0] + box[3] - box[1]) / 2
    rings = [(reach + ring * high, turn * math.pi / 8) for ring in range(1, 13) for turn in range(16)]
    corners = [(x + far * math.cos(angle), y + far * math.sin(angle)) for far, angle in rings]
    return [(left, top, left + wide, top + high) for left, top in corners]


def moved(place: Rectangle, room: Rectangle) -> Rectangle:
    """A place pushed back into the room."""
    wide, high = place[2] - place[0], place[3] - place[1]
    x = round(max(room[0], min(place[0], room[2] - 1 - wide)))
    y = round(max(room[1], min(place[1], room[3] - 1 - high)))
    return x, y, x + wide, y + high


def area(box: Rectangle) -> float:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def framed(explanation: Explanation, verdict: Verdict, name: str) -> Image.Image:
    """A heat map with what a reader needs: of which file and face it is, the verdict, the scale, what it is worth."""
    heat, size = explanation.overlay, max(MIN_TEXT, explanation.overlay.width // PER_LINE)
    small = max(MIN_TEXT, round(0.8 * size))
    title = [(shortened(name), small), (sentence_case(spoken(verdict)), round(1.3 * size))]
    if several(verdict):
        number = explanation.face
        about = f"Face {number + 1} of {len(verdict.faces)}, the one that looks most fake: "
        title.append((about + spoken(verdict.faces[number]), small))
    title.append(("What speaks for Fake to this detector, not a proof.", small))
    below = [(explanation.sentence, small)]
    if explanation.marked.any():
        line = f"Within the line: the hottest places, at most {percent(HOT)} of this view."
        below.insert(0, (line, small))
    parts = [strip(heat.width, title), heat, scale(heat.width, small), strip(heat.width, below)]
    sheet = Image.new("RGB", (heat.width, sum(part.height for part in parts)), GROUND)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def scale(width: int, size: int) -> Image.Image:
    """The colours of a heat map, as they look on a grey picture, and what they mean."""
    ramp = np.linspace(0, 1, width - 2 * size, dtype=np.float32)[None]
    seen = GREY[0] + OPACITY * ramp[..., None] * (colours(ramp) - GREY[0])
    bar = Image.fromarray(np.rint(seen).astype(np.uint8)).resize((ramp.size, size), Image.Resampling.NEAREST)
    part = Image.new("RGB", (width, 3 * size), GROUND)
    part.paste(bar, (size, size // 2))
    draw, y = ImageDraw.Draw(part), round(1.6 * size)
    draw.text((size, y), "grey: nothing for Fake", font=font(size), fill=INK)
    draw.text((width - size, y), "bright: most in this view", font=font(size), fill=INK, anchor="ra")
    return part


def strip(width: int, lines: list[tuple[str, int]], columns: list[str] = ()) -> Image.Image:
    """Lines of (text, height of its letters) on black, broken where they are too long; then items in columns."""
    rows = [(row, size) for text, size in lines for row in wrapped(drawable(text), size, width - size)]
    small = min(size for _, size in lines)
    if len(columns) > MANY:
        small = max(MIN_TEXT, round(0.6 * small))
    cell = max((font(small).getlength(text) for text in columns), default=0) + 2 * small
    down = -(-len(columns) // max(1, int((width - small) // cell)))
    high = [round(1.35 * size) for _, size in rows]
    part = Image.new("RGB", (width, sum(high) + down * round(1.35 * small) + small // 2), GROUND)
    draw, y = ImageDraw.Draw(part), small // 4
    for (text, size), step in zip(rows, high, strict=True):
        draw.text((small // 2, y), text, font=font(size), fill=INK)
        y += step
    for place, text in enumerate(columns):
        at = (small // 2 + cell * (place // down), y + (place % down) * round(1.35 * small))
        draw.text(at, text, font=font(small), fill=INK)
    return part


def wrapped(text: str, size: int, width: float) -> list[str]:
    """A text in lines that are no wider than `width` pixels, broken between words, and within one that is too long."""
    lines, letters = [""], font(size)
    for word in text.split(" "):
        if letters.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] = f"{lines[-1]} {word}".strip()
            continue
        lines += [""] if lines[-1] else []
        for letter in word:
            if lines[-1] and letters.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def drawable(text: str) -> str:
    """A text in the letters that Pillow's own font has; the others are escaped, as no box says which they were."""
    return "".join(c if has(c) else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


@lru_cache(maxsize=4096)
def has(letter: str) -> bool:
    if letter.isascii():
        return letter.isprintable()
    missing, mask = font(20).getmask("\uffff"), font(20).getmask(letter)
    drawn = unicodedata.category(letter)[0] not in "CZM"  # no control, no blank but the plain one, no lone accent
    return drawn and (mask.size, bytes(mask)) != (missing.size, bytes(missing))


def shortened(name: str) -> str:
    half = LONGEST // 2
    return name if len(name) <= LONGEST else f"{name[:half]}…{name[-half:]}"


def sentence_case(text: str) -> str:
    return text[0].upper() + text[1:]
