"""Does the page show what changed, whatever claims and subjects say, and nothing but that?"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import msgspec
import numpy as np
import pytest

from rnn_check.certificates.comparison import Comparison, equal
from rnn_check.claims.claim import Claim
from rnn_check.reports import page, page_changes
from rnn_check.reports import pictures as picture
from rnn_check.reports.svg import printable
from rnn_check.subjects.identity import Who, not_started
from rnn_check.upgrades import changes as compare
from rnn_check.upgrades import document
from rnn_check.upgrades.changes import Compared, Side
from rnn_check.upgrades.sentence import sentence
from rnn_check.verdicts.judge import AGREE, DIFFER, ERROR, NOT_RUN, Judged, Verdict
from tests.support import puppet
from tests.support.bundled import load_all
from tests.support.sampling import long

HOSTILE = "<script>alert(1)</script>]]>\"'&amp;<!--$x_1^2$\x00\x1b漢"
VOID = {"meta", "wbr", "br"}
T = 12
STATES = np.linspace(-0.9, 0.9, 2 * T * 3).reshape(2, T, 3)  # (B,T,H)


@dataclasses.dataclass
class Node:
    tag: str
    attributes: dict[str, str | None]
    children: list[Node] = dataclasses.field(default_factory=list)
    text: str = ""

    def all(self, tag: str = "") -> list[Node]:
        found = [self] if tag in ("", self.tag) else []
        return found + [each for child in self.children for each in child.all(tag)]

    def whole(self) -> str:
        return self.text + "".join(child.whole() for child in self.children)


class Reader(HTMLParser):
    """The page as a tree; every element that is opened must be closed, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = Node("", {})
        self.open = [self.root]
        self.feed(html)
        self.close()
        assert self.open == [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        assert len(node.attributes) == len(attrs), f"an attribute twice: {tag} {attrs}"
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Node(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(Node("#text", {}, text=data))

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")


def read(html: str) -> Node:
    root = Reader(html).root
    ids = [node.attributes["id"] for node in root.all() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    # whatever is pointed at is there
    targets = set(re.findall(r"(?:url\(|href=\"|by=\")#?([\w-]+)", html))
    assert targets - {"https", "http"} <= set(ids)
    nothing = {"script", "link", "img", "iframe", "object", "image", "style", "base", "form"}
    assert [node.tag for node in root.all() if node.tag in nothing] == ["style"]
    for node in root.all():
        loads = {"src", "srcset", "data", "poster", "action", "xlink:href", "background"}
        assert not loads & node.attributes.keys()
        assert not any(name.startswith("on") for name in node.attributes)
        if node.tag != "a" and (href := node.attributes.get("href")):
            assert href.startswith("#")
    assert not re.search(r"url\((?!#)|@import", html)
    levels = [int(node.tag[1]) for node in root.all() if re.fullmatch("h[1-6]", node.tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all("aria-label" in n.attributes for n in root.all("svg") if "role" in n.attributes)
    assert all("scope" in node.attributes for node in root.all("th"))
    return root


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Claim:
    (found,) = load_all([puppet.claims(tmp_path_factory.mktemp("claims"), "a")])
    return dataclasses.replace(found, name="folder/a")


def numbers(got: Any, bound: float = 2.0**-20, who: str = "subject") -> Comparison:
    got = np.asarray(got, np.float64)
    with np.errstate(invalid="ignore"):
        error = np.abs(got - STATES[tuple(slice(n) for n in got.shape)])
    names, places = ("sample", "timestep", "unit"), tuple(np.indices(got.shape))
    expected = STATES[tuple(slice(n) for n in got.shape)]
    bounds = np.full(got.shape, bound)
    why = "errors may grow too large"
    return Comparison(who, "output", got, expected, error, bounds, names, places, unbounded=why)


def moved(by: float = 1e-7, at: tuple[int, ...] = (1, 5, 2)) -> Any:
    states = STATES.astype(np.float32)
    states[at] += np.float32(by)
    return states


SAME = numbers(STATES.astype(np.float32))


def verdict(kind: str, *comparisons: Comparison, detail: str = "why", **more: Any) -> Verdict:
    ratio = max((c.ratio for c in comparisons), default=None)
    finite = None if ratio is None or not np.isfinite(ratio) else ratio
    v = Verdict("", "file", "output", kind, finite, "word", "document", detail, "")
    return dataclasses.replace(v, comparisons=comparisons, **more)


def side(number: int, *verdicts: Verdict, failure: str = "", **more: Any) -> Side:
    subject = {
        **{"keras": "3.15.1", "backend": "tensorflow", "backend_version": f"2.{number}.0"},
        **{"python": "3.11.7", "numpy": "2.4.6", "device": "CPU", "dtype": "float32"},
        **{"cpu": "A CPU", "threads": 2, "settings": {"FLAG": "1"}, "mode": "eager"},
        **{"packages": {"tensorflow": f"2.{number}.0", "six": "1.17.0"}},
        **more,
    }
    shown = not_started("").asked() if failure else Who(**subject)
    return Side(f"tensorflow==2.{number}.0", Judged(shown, verdicts), failure)


def compared(one: Claim, *of: Verdict | None, claims: int = 1, **more: Any) -> Compared:
    """The same answers to as many claims."""
    names = [f"folder/claim_{i}" for i in range(claims)] if claims > 1 else [one.name]
    asked = [dataclasses.replace(one, name=name) for name in names]
    sides = [
        side(i, failure="it did not start\nbut why")
        if v is None
        else side(i, *(dataclasses.replace(v, claim=name) for name in names), **more)
        for i, v in enumerate(of)
    ]
    return compare.compare(asked, sides)


def shown(one: Claim, *of: Verdict | None, **more: Any) -> tuple[Node, str]:
    root = read(page.html(compared(one, *of, **more)))
    return root, re.sub(r"\s+", " ", root.whole())


# -- what is there ---------------------------------------------------------------------------------


def test_everything_that_the_reader_needs_is_there(one: Claim) -> None:
    wrong = numbers(moved(0.25))
    found = compared(one, verdict(AGREE, SAME), verdict(DIFFER, wrong, detail=wrong.blame()))
    html = page.html(found)
    root = read(html)
    text = re.sub(r"\s+", " ", root.whole())
    assert sentence(found) in root.all("header")[0].whole()
    for part in ("TensorFlow 2.0.0", "TensorFlow 2.1.0", "tensorflow==2.1.0", "3.11.7", "FLAG=1"):
        assert part in text
    for part in ("A CPU", "threads 2", "Packages of which the versions differ (1)", wrong.blame()):
        assert part in text
    labels = [str(svg.attributes.get("aria-label")) for svg in root.all("svg")]
    assert any(label.startswith("Heat map") for label in labels)
    assert any(label.startswith("Error against timestep") for label in labels)
    assert any(label.startswith("Histogram") for label in labels)
    assert "The first beyond its bound is at timestep 5." in " ".join(labels)
    captions = [node.whole() for node in root.all("caption")]
    assert [c.partition("sample down")[0].partition("timestep")[0] for c in captions] == [
        "the framework's · 1 TensorFlow 2.0.0 with Keras 3.15.1",
        "the framework's · 2 TensorFlow 2.1.0 with Keras 3.15.1",
        "true",
    ]
    assert all("sample 1" in caption for caption in captions)
    marked = [td.whole() for td in root.all("td") if td.attributes.get("class") == "beyond"]
    assert marked == [page._number(moved(0.25)[1, 5, 2].item()) + "✗"]
    assert picture.DIFFERS in [node.whole() for node in root.all("text")]
    (raw,) = (node for node in root.all("pre") if node.attributes.get("id") == "json")
    assert json.loads(raw.whole()) == json.loads(json.dumps(document.document(found)))


def test_it_can_load_nothing(one: Claim) -> None:
    root, _ = shown(one, verdict(AGREE, SAME), verdict(AGREE, numbers(moved())))
    policy = [meta.attributes for meta in root.all("meta") if "http-equiv" in meta.attributes]
    assert policy == [
        {
            "http-equiv": "Content-Security-Policy",
            "content": "default-src 'none'; style-src 'unsafe-inline'",
        }
    ]


def test_every_colour_has_a_light_and_a_dark_one(one: Claim) -> None:
    root, _ = shown(one, verdict(AGREE, SAME), verdict(DIFFER, numbers(moved(0.25))))
    light, dark = re.findall(r":root \{(.*?)\}", root.all("style")[0].whole(), re.DOTALL)
    named = [dict(re.findall(r"--([\w-]+): (#\w{6});", block)) for block in (light, dark)]
    assert named[0].keys() == named[1].keys()
    styles = ";".join(
        str(node.attributes.get("style", "")) for svg in root.all("svg") for node in svg.all()
    )
    used = set(re.findall(r"(?:fill|stroke): ([^;]+)", styles))
    assert {"currentColor", "var(--series-1)", "var(--level-6)", "var(--band)"} <= used
    assert used <= {"none", "currentColor", *(f"var(--{name})" for name in named[0])}


def test_the_same_numbers_are_the_same_bytes(one: Claim) -> None:
    of = verdict(AGREE, SAME), verdict(DIFFER, numbers(moved(0.25)))
    assert page.html(compared(one, *of)) == page.html(compared(one, *of))


def headings(root: Node) -> list[str]:
    return [node.whole() for node in root.all("h2")]


def test_what_got_worse_comes_first_and_what_is_known_after_the_map(one: Claim) -> None:
    worse = verdict(DIFFER, numbers(moved(0.25)))
    known = dataclasses.replace(worse, deviation="it always did")
    found = compared(one, verdict(AGREE, SAME), worse, known)
    others = [
        dataclasses.replace(row, claim=dataclasses.replace(one, name="b")) for row in found.rows
    ]
    of_known = [None, None, found.rows[0].changes[2]]
    rows = [
        *found.rows,
        *(dataclasses.replace(row, changes=tuple(of_known)) for row in others),
    ]
    root = read(page.html(dataclasses.replace(found, rows=rows)))
    assert [h.partition(" (")[0] for h in headings(root)] == [
        "Verdicts that got worse",
        "Error as a share of the bound",
        "Verdicts that got worse as is known",
        "What was compared",
        "How far the numbers moved",
        "As JSON",
    ]


def tone(root: Node) -> str | None:
    (sentence,) = (p for p in root.all("p") if "verdict" in str(p.attributes.get("class")))
    return sentence.attributes["class"]


def test_what_is_known_is_not_red(one: Claim) -> None:
    worse = verdict(DIFFER, numbers(moved(0.25)))
    assert tone(shown(one, verdict(AGREE, SAME), worse)[0]) == "verdict worse"
    known = dataclasses.replace(worse, deviation="it always did")
    assert tone(shown(one, verdict(AGREE, SAME), known)[0]) == "verdict same"
    beyond = verdict(AGREE, numbers(moved(0.25), 2.0**-20))
    assert tone(shown(one, verdict(AGREE, SAME), beyond)[0]) == "verdict beyond"


def test_one_sign_is_explained_once(one: Claim) -> None:
    _, text = shown(one, verdict(AGREE, SAME), verdict(DIFFER, numbers(moved(0.25))))
    assert "×" not in text
    assert text.count("✗ differ") == 1


def test_nothing_differs(one: Claim) -> None:
    root, text = shown(one, *[verdict(AGREE, SAME)] * 2)
    assert "Nothing differs, not a bit, in 1 claim." in text
    assert "How far the numbers moved" not in text
    assert not details(root)
    ratios = [td.whole() for td in root.all("td") if td.whole()[:1] == "✓"]  # the map, as a table
    assert ratios == [f"✓ {SAME.ratio:.2f}"] * 2


def test_matplotlib_is_left_as_it_was(one: Claim) -> None:
    import matplotlib

    before = matplotlib.rcParams.copy()
    had = "matplotlib.pyplot" in sys.modules  # other tests import frameworks, which may
    page.html(compared(one, verdict(AGREE, SAME), verdict(DIFFER, numbers(moved(0.25)))))
    assert matplotlib.rcParams.copy() == before
    assert ("matplotlib.pyplot" in sys.modules) == had


def test_the_command_line_does_not_wait_for_pictures() -> None:
    asked = "import sys, rnn_check.cli, rnn_check.reports.changes; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True, env=os.environ
    ).stdout.split()
    assert "rnn_check.cli.compare" in loaded
    assert not {"matplotlib", "jinja2", "rnn_check.reports.page"} & set(loaded)


# -- what claims and subjects say is text ----------------------------------------------------------


def test_nothing_that_is_said_becomes_markup(one: Claim) -> None:
    c = dataclasses.replace(one, name=f"{HOSTILE}/{HOSTILE}", title=HOSTILE)
    said: dict[str, Any] = {"claim": c.name, "word": HOSTILE, "document": HOSTILE}
    same = dataclasses.replace(SAME, what=HOSTILE)
    wrong = dataclasses.replace(numbers(moved(0.25)), what=HOSTILE)
    of_it = {
        "cpu": HOSTILE,
        "settings": {HOSTILE: HOSTILE},
        "keras": HOSTILE,
        "backend_version": "2",
    }
    sides = [
        side(0, verdict(AGREE, same, **said)),
        side(1, verdict(DIFFER, wrong, detail=HOSTILE, **said), packages={"x": HOSTILE}, **of_it),
        dataclasses.replace(side(2, failure=HOSTILE), word=HOSTILE),
    ]
    html = page.html(compare.compare([c], sides))
    root = read(html)  # which has no script, no comment, and no attribute but the page's own
    assert html.count("&lt;script&gt;") > 20
    assert HOSTILE.replace("\x00", "\ufffd").replace("\x1b", "\ufffd") in root.whole()
    assert not re.search("[\x00-\x08\x0b-\x1f]", html)
    in_pictures = [n.whole() for svg in root.all("svg") for n in svg.all("text")]
    assert any("<script>" in label and "$x_1^2$" in label for label in in_pictures)
    print(ascii(in_pictures))
    assert any(label.startswith("script>]]>") and "…" in label for label in in_pictures)
    assert any("<script>" in str(svg.attributes.get("aria-label")) for svg in root.all("svg"))


def test_what_no_document_can_hold_is_replaced() -> None:
    told = "a\x00b\x1bc\ud800d\ufffee\x7ff\tg\nh漢🙂"
    assert printable(told) == "a\ufffdb\ufffdc\ufffdd\ufffde\ufffdf\tg\nh漢🙂"
    turned = "a\u202egnorw\u2066b"  # the text around it, too
    assert printable(turned) == "a\ufffdgnorw\ufffdb"


@pytest.mark.parametrize(
    ("url", "links"),
    [
        ("https://example.org/a?b=1&c=2", ["https://example.org/a?b=1&c=2"]),
        ("javascript:alert(1)", []),
        ("data:text/html,x", []),
        (None, []),
    ],
)
def test_only_a_web_address_is_a_link(one: Claim, url: str | None, links: list[str]) -> None:
    c = dataclasses.replace(one, source=msgspec.structs.replace(one.source, url=url))
    root, _ = shown(c, verdict(AGREE, SAME), verdict(AGREE, numbers(moved())))
    found = [str(a.attributes["href"]) for a in root.all("a")]
    assert [href for href in found if not href.startswith("#")] == links


# -- odd cases -------------------------------------------------------------------------------------


def test_a_subject_that_failed_says_why(one: Claim) -> None:
    root, text = shown(one, verdict(AGREE, SAME), None, verdict(AGREE, numbers(moved())))
    assert "tensorflow==2.1.0 could not be asked" in text
    assert "it did not start but why" in text
    assert "1 changed in the last bits" in text
    assert root.all("svg")


def test_each_subject_is_held_against_the_one_before_it_too(one: Claim) -> None:
    _, text = shown(one, *(verdict(AGREE, numbers(moved(by))) for by in (0.0, 1e-7, 1e-7)))
    assert "since 2: the same, bit for bit" in text
    assert "since 1" not in text


def test_nobody_could_be_asked(one: Claim) -> None:
    root, text = shown(one, None, None)
    assert text.count("it did not start but why") >= 2
    assert "Heat map" not in text
    assert not root.all("svg")


def test_errors_and_what_was_not_run_have_no_numbers(one: Claim) -> None:
    root, text = shown(
        one,
        verdict(NOT_RUN, detail="no such mode"),
        verdict(ERROR, detail="ValueError: oh\n  a traceback"),
        verdict(AGREE, SAME),
    )
    assert "not_run: no such mode" in text
    assert "error: ValueError: oh" in text
    marks = {
        n.whole() for svg in root.all("svg") if "role" in svg.attributes for n in svg.all("text")
    }
    assert {picture.BREAKS, picture.SILENT} <= marks
    assert picture.DIFFERS not in marks


@pytest.mark.parametrize("gone", [np.nan, np.inf, -np.inf])
def test_numbers_without_end(one: Claim, gone: float) -> None:
    states = moved(0.0)
    states[1, 5, 2] = gone
    wrong = numbers(states)
    root, text = shown(one, verdict(AGREE, SAME), verdict(DIFFER, wrong, detail=wrong.blame()))
    assert "✗ ∞" in text
    (beyond,) = (n.whole() for n in root.all("td") if n.attributes.get("class") == "beyond")
    assert beyond == f"{gone:g}".replace("-", "−") + "✗"
    assert "timestep 5" in text


def test_a_number_of_which_one_is_none_is_not_in_the_histogram(one: Claim) -> None:
    states = moved()
    states[0, 0, 0] = np.nan
    _, text = shown(one, verdict(AGREE, SAME), verdict(DIFFER, numbers(states)))
    assert (
        "70 of 72 numbers are the same, 1 went up, 0 down; "
        "1 are not finite on one side and not drawn." in text
    )


def test_nothing_is_allowed_of_what_is_exact(one: Claim) -> None:
    exact = [
        dataclasses.replace(numbers(s, bound=0.0), expected=STATES) for s in (STATES, moved(0.5))
    ]
    before, after = (dataclasses.replace(c, error=np.abs(c.got - STATES)) for c in exact)
    root, text = shown(one, verdict(AGREE, before), verdict(DIFFER, after))
    assert "✗" in text
    labels = [str(svg.attributes.get("aria-label")) for svg in root.all("svg")]
    assert any(label.startswith("Error against timestep") for label in labels)
    assert "0" in [n.whole() for svg in root.all("svg") for n in svg.all("text")]


def test_an_infinite_bound_is_not_drawn(one: Claim) -> None:
    _, text = shown(
        one, verdict(AGREE, numbers(STATES, np.inf)), verdict(AGREE, numbers(moved(), np.inf))
    )
    assert "1 of 1 claims changed, at most 3 ulps, where no bound is known." in text


def test_a_drift_beyond_what_rounding_explains_has_its_share(one: Claim) -> None:
    tight = 2.0**-26
    _, text = shown(
        one,
        verdict(DIFFER, numbers(moved(0.0), tight)),
        verdict(DIFFER, numbers(moved(0.5), tight)),
    )
    assert "1.7e7" in text  # 0.5 / 2^-25


def test_words_that_changed(one: Claim) -> None:
    _, text = shown(
        one,
        verdict(AGREE, equal("subject", "activation", "tanh", "tanh")),
        verdict(AGREE, equal("subject", "activation", "linear", "tanh")),
    )
    assert "activation: tanh → linear" in text
    assert "Answers that changed, their verdicts not (1)" in text


def test_shapes_that_changed(one: Claim) -> None:
    root, text = shown(one, verdict(AGREE, SAME), verdict(DIFFER, numbers(STATES[:1, :4] + 1)))
    assert "shape of output: (2, 12, 3) → (1, 4, 3)" in text
    assert len(root.all("caption")) == 4  # each beside what was expected of it


def test_a_single_number_and_a_single_timestep(one: Claim) -> None:
    def at_once(value: float) -> Comparison:
        got = np.array([[[value]]])
        places = tuple(np.indices(got.shape))
        axes = ("sample", "timestep", "unit")
        return Comparison("subject", "output", got, 0 * got, got, 0 * got + 1e-6, axes, places)

    def alone(value: float) -> Comparison:
        got = np.asarray(value)
        return Comparison("subject", "loss", got, 0 * got, got, 0 * got + 1e-6)

    for make in (at_once, alone):
        root, text = shown(one, verdict(AGREE, make(0.0)), verdict(DIFFER, make(0.5)))
        assert "0.5✗" in text
        drawn = [str(svg.attributes.get("aria-label")) for svg in root.all("svg")]
        assert any(d.startswith("Error against") for d in drawn) == (make is at_once)


def test_a_part_that_a_claim_speaks_of_keeps_its_places(one: Claim) -> None:
    """The value at one timestep has two axes, of an array that has three."""

    def part(by: float) -> Comparison:
        got = moved(by)[:, 5].astype(np.float64)
        places = tuple(index[:, 5] for index in np.indices(STATES.shape))
        error = np.abs(got - STATES[:, 5])
        names = ("sample", "timestep", "unit")
        return Comparison(
            "subject", "output", got, STATES[:, 5], error, 0 * got + 1e-6, names, places
        )

    root, _ = shown(one, verdict(AGREE, part(0.0)), verdict(DIFFER, part(0.25)))
    caption = re.sub(r"\s+", " ", root.all("caption")[1].whole())
    assert caption.endswith("sample down, unit acrosstimestep 5")


# -- how much is shown -----------------------------------------------------------------------------


def details(root: Node) -> list[Node]:
    return [node for node in root.all("details") if node.attributes.get("class") == "change"]


def test_a_window_of_a_large_matrix_is_around_the_place(one: Claim) -> None:
    rng = np.random.default_rng(0)
    large = rng.standard_normal((1, 1000, 64)).astype(np.float32)
    other = large.copy()
    other[0, 700, 40] += np.float32(1.0)
    names, places = ("sample", "timestep", "unit"), tuple(np.indices(large.shape))

    def of(got: Any) -> Comparison:
        wide = np.asarray(got, np.float64)
        error, bound = np.abs(wide - large), np.full(large.shape, 1e-6)
        return Comparison("step", "states", wide, large.astype(float), error, bound, names, places)

    root, text = shown(one, verdict(AGREE, of(large)), verdict(DIFFER, of(other)))
    assert text.count("timestep 694 to 705 of 1,000, unit 34 to 45 of 64") == 3
    (beyond,) = (n for n in root.all("td") if n.attributes.get("class") == "beyond")
    assert beyond.whole().startswith(page._number(other[0, 700, 40].item()))


@long
def test_a_page_of_many_rows_is_small(one: Claim) -> None:
    of = [verdict(AGREE, SAME), *[verdict(AGREE, numbers(moved()))] * 11]
    html = page.html(compared(one, *of, claims=400))
    root = read(html)
    assert len(html) < 4 * 2**20
    assert len(details(root)) == page_changes.DRIFTS_SHOWN
    assert "375 more" in html
    assert html.count("<wbr>claim_<wbr>399<") == 1  # every answer
    assert html.count("<wbr>claim_<wbr>399 ·") == 1  # what changed
    heights = [int(str(n.attributes["height"])) for n in root.all("svg") if "role" in n.attributes]
    assert max(heights) < 1500


@long
def test_a_page_of_nothing_but_differences_is_small(one: Claim) -> None:
    found = compared(one, verdict(AGREE, SAME), verdict(DIFFER, numbers(moved(0.25))), claims=300)
    rows = [
        dataclasses.replace(
            row, verdicts=tuple(v and dataclasses.replace(v, detail=f"{i}") for v in row.verdicts)
        )
        for i, row in enumerate(found.rows)
    ]
    html = page.html(dataclasses.replace(found, rows=rows))
    root = read(html)
    assert len(html) < 4 * 2**20
    assert len(changes(root)) == page_changes.DETAILS
    drawn = [str(svg.attributes.get("aria-label")) for svg in root.all("svg")]
    assert sum(d.startswith("Error against") for d in drawn) == page_changes.PICTURES


def changes(root: Node) -> list[Node]:
    return [n for n in root.all("details") if n.attributes.get("class") == "change"]


@pytest.mark.long
def test_changes_of_one_cause_are_looked_at_once(one: Claim) -> None:
    broken = verdict(ERROR, detail="output: NotImplementedError: no QR in bfloat16\nTrace")
    root, text = shown(one, verdict(AGREE, SAME), broken, claims=200)
    (detail,) = changes(root)
    assert "also folder/claim_1 · output" in re.sub(r"\s+", " ", detail.whole())
    assert "and 192 more" in detail.whole()
    assert "Closely, the first" not in text
    links = [a.attributes["href"] for a in root.all("a")]
    assert links.count("#change-1") == 200


def test_the_largest_share_comes_first(one: Claim) -> None:
    bounds = {"small": 1e-3, "large": 1e-6, "middle": 1e-5}
    claims = [dataclasses.replace(one, name=name) for name in bounds]
    sides = [
        side(i, *(verdict(AGREE, numbers(moved(by), b), claim=n) for n, b in bounds.items()))
        for i, by in enumerate((0.0, 1e-7))
    ]
    root = read(page.html(compare.compare(claims, sides)))
    linked = [a.whole() for a in root.all("a")]
    assert linked == ["large · output", "middle · output", "small · output"]


def test_more_answers_than_can_stand_beside_each_other(one: Claim) -> None:
    of = [verdict(AGREE, numbers(moved(i * 1e-7))) for i in range(7)]
    root, text = shown(one, *of)
    assert len(root.all("caption")) == page_changes.ANSWERS + 1
    assert "3 more different answers are not shown" in text


# -- pictures --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "name"),
    [(0, "0"), (1e-300, "up to 0.01"), (0.01, "up to 0.01"), (0.5, "up to 1"), (1, "up to 1"),
     (np.nextafter(1, 2), "up to 10"), (1001, "more"), (np.inf, "more"), (np.nan, "more")],
)  # fmt: skip
def test_the_bound_parts_two_levels(ratio: float, name: str) -> None:
    assert picture.LEVEL_NAMES[picture.level(ratio)] == name


def test_bins_double() -> None:
    ulps = np.array([0.5, 1, 1.5, 2, 3, 4, 5, 8, -1, -2, -1000, 2.0**40])
    found, many = picture.bins(ulps)
    assert dict(zip(found.tolist(), many.tolist(), strict=True)) == {
        -11: 1, -2: 1, -1: 1, 1: 2, 2: 2, 3: 2, 4: 2, 41: 1,
    }  # fmt: skip


def test_names_are_shortened_in_the_middle() -> None:
    assert picture.shortened("abc", 3) == "abc"
    assert picture.shortened("abcdefghij", 5) == "ab…ij"
    assert picture.shortened("a\nb\x00", 9) == "a b\ufffd"
