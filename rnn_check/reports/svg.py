"""How does a figure become SVG that stands in a page?

No file, no script, no identity of its own. Colours are names that the page's style sheet gives a
meaning (light, dark); text is text, in the page's font. The same numbers give the same bytes.
"""

from __future__ import annotations

import re
import warnings
from io import StringIO
from typing import Any
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, QUIET, BAND = "ink", "quiet", "band"
SERIES = ("series-1", "series-2", "series-3", "series-4")  # the baseline, then others
LEVELS = tuple(f"level-{i}" for i in range(7))  # of error/bound
# matplotlib knows no names of a style sheet: each is drawn as a colour that nothing else has
DRAWN_AS = {name: f"#01{i:02x}01" for i, name in enumerate((INK, QUIET, BAND, *SERIES, *LEVELS), 1)}
_NAMED = {drawn: name for name, drawn in DRAWN_AS.items()}
STYLE: dict[Any, Any] = {
    "axes.edgecolor": DRAWN_AS[QUIET],
    "axes.facecolor": "none",
    "axes.labelcolor": DRAWN_AS[QUIET],
    "axes.labelsize": 12,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 72,  # an SVG's unit is a point then, and the page's pixel
    "figure.facecolor": "none",
    "font.family": "sans-serif",
    "font.size": 12,
    "svg.fonttype": "none",
    "text.color": DRAWN_AS[INK],
    "text.parse_math": False,  # names are not formulas, whatever signs are in them
    "xtick.color": DRAWN_AS[QUIET],
    "xtick.labelsize": 11,
    "ytick.color": DRAWN_AS[QUIET],
    "ytick.labelsize": 11,
}
WIDTH = 640  # pixels


def figure_of(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width / 72, height / 72))
    FigureCanvasSVG(figure)
    return figure


def axes_in(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes placed in pixels from the figure's top left corner."""
    whole_width, whole_height = (72 * size for size in figure.get_size_inches())
    return figure.add_axes(
        (
            left / whole_width,
            1 - (top + height) / whole_height,
            width / whole_width,
            height / whole_height,
        )
    )


def svg(figure: Figure, name: str, describes: str) -> str:
    """The figure as an SVG element; `name` is the picture's own in its page."""
    written = StringIO()
    none = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        # the page's font draws the text; matplotlib's own only measures it
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(written, format="svg", metadata=none)
    root = ElementTree.fromstring(printable(written.getvalue()))
    text = ElementTree.tostring(root, encoding="unicode")
    used = set(re.findall(r'url\(#([^)"]+)\)|href="#([^"]+)"', text))
    kept = {one or other for one, other in used}
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):  # of a whole document
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        attributes = {_local(key): value for key, value in element.attrib.items()}
        if attributes.get("id") not in kept:
            attributes.pop("id", None)
        if "style" in attributes:
            attributes["style"] = _styled(attributes["style"])
        element.attrib.clear()
        element.attrib.update(attributes)
    width, height = (round(72 * size) for size in figure.get_size_inches())
    root.attrib.clear()
    root.attrib.update(
        {
            "viewBox": f"0 0 {width} {height}",
            "width": str(width),
            "height": str(height),
            "role": "img",
            "aria-label": describes,
        }
    )
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _styled(style: str) -> str:
    """A style of the page: its colours by name, its font."""
    style = re.sub(r"#[0-9a-f]{6}", lambda m: _colour(m[0]), style)
    return re.sub(r"font: ([0-9.]+)px [^;]*", r"font-size: \1px", style)


def _colour(drawn: str) -> str:
    name = _NAMED.get(drawn)
    return drawn if name is None else "currentColor" if name == INK else f"var(--{name})"


def printable(text: str) -> str:
    """Without what neither XML nor HTML can hold: control characters, halves of a character.

    Nor what turns the direction of the text around it.
    """
    text = re.sub("[\u202a-\u202e\u2066-\u2069]", "\ufffd", text)
    return re.sub(
        "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text
    )
