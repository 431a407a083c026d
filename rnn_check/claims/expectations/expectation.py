"""What can be expected of a layer, and what does a kind of expectation have to say of itself?

A kind of expectation is one class below `Expectation`: the keys that it takes in an [[expect]]
table, what it needs of the claim, what a subject is asked for it, how it is judged, and where an
answer to it has to be spoilt to turn it red. An instance is one expectation of one claim, first as
it was written, then as it was read (`read_in`). A class that forgets one of these cannot be made,
and one that has them all needs no mention anywhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path as Path_
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
import numpy as np

from rnn_check.certificates.comparison import Comparison
from rnn_check.claims.expectations.case import Case
from rnn_check.claims.experiment import Experiment
from rnn_check.claims.tables import ComputedIn, Index, Table
from rnn_check.claims.written import Array, Reader
from rnn_check.refusal import ClaimError, any_of, meant, nearest
from rnn_check.subjects.asked.named import FAMILIES
from rnn_check.subjects.policy import Policy

Holding = Annotated[Any, msgspec.Meta(extra_json_schema={"const": True})]
Layers = Literal["any", "plain"]
Path = tuple[str, ...]  # from the questions down to what was answered, "*" for whatever is there


class At(Table, frozen=True):
    """Which entries the value speaks of; an axis left out is taken whole."""

    sample: Index | list[Index] | None = None
    timestep: Index | list[Index] | None = None
    unit: Index | list[Index] | None = None
    feature: Index | list[Index] | None = None
    row: Index | list[Index] | None = None
    column: Index | list[Index] | None = None
    epoch: Index | None = None

    def given(self) -> dict[str, int | list[int]]:
        """The axes that it names."""
        every = msgspec.structs.asdict(self)
        return {axis: index for axis, index in every.items() if index is not None}


@dataclass(frozen=True)
class Need:
    """What a claim has to give, and whether it does."""

    what: str
    there: Callable[[Experiment], bool]


X = Need("input.x", lambda run: run.x is not None)
INPUT = Need("input", lambda run: run.input_shape is not None)
WEIGHTS = Need("weights", lambda run: run.weights is not None)
LOSS = Need("loss", lambda run: run.loss is not None)
ANY_LOSS = Need("loss", lambda run: run.loss is not None or run.cell_cotangent is not None)
MSE = Need('loss.kind = "mse"', lambda run: run.loss is not None and run.loss.kind == "mse")
ONE_OUTPUT = Need(
    'one array at the end, not the two of merge_mode = "None"', lambda run: not run.puts_out_two
)
DENSE = Need(
    "a Dense layer after a last state",
    lambda run: run.is_plain and run.dense is not None and not run.rnn.returns_sequences,
)


@dataclass(frozen=True)
class Reading:
    """What an expectation is read beside: the experiment, and how its author's numbers are read."""

    read: Reader
    experiment: Experiment
    computed_in: ComputedIn | None
    key: str  # "expect[0]"

    def fail(self, name: str, problem: str) -> ClaimError:
        return self.read.fail(f"{self.key}.{name}".rstrip("."), problem)


def snake(name: str) -> str:
    """RoundTrip: "round_trip"."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


KINDS: dict[str, type[Expectation]] = {}  # by what it is called in a claim file
_EACH = ("layers", "needs", "asks", "judge", "spoils", "reads")  # what no kind may forget


class Expectation(
    Table, frozen=True, kw_only=True, tag_field="what", tag=snake, rename={"from_": "from"}
):
    """One asserted value, and on whose word.

    known_to_differ: what is wrong with the number itself. not_run: why it cannot be judged.

    layers: of which layers it can be judged: "any", or "plain", one of one recurrence, alone or
    before a Dense layer. needs: what the claim has to give.
    does_without: questions that a subject may have no answer to. not_in_older: those that records
    of older versions do not hold.
    """

    from_: str
    known_to_differ: str = ""
    not_run: str = ""

    family: ClassVar[bool] = True  # of a class of kinds, which is none itself
    layers: ClassVar[Layers]
    needs: ClassVar[tuple[Need, ...]]
    questions: ClassVar[tuple[str, ...]]
    does_without: ClassVar[frozenset[str]] = frozenset()
    not_in_older: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "family" in cls.__dict__:
            return
        missing = [n for n in _EACH if getattr(cls, n, None) is getattr(Expectation, n, None)]
        missing = [n for n in missing if n != "asks" or not hasattr(cls, "questions")]
        missing += [] if cls.__dict__.get("__doc__") else ["a docstring"]
        if missing:
            raise TypeError(f"the expectation {cls.__name__} does not say: {', '.join(missing)}")
        what = snake(cls.__name__)
        if what in KINDS:
            raise TypeError(f"there are two expectations that are called {what!r}")
        KINDS[what] = cls

    # what a kind says of itself

    def asks(self, run: Experiment) -> set[str]:
        """What a subject is asked, so that it can be judged: `questions`, whatever the claim."""
        return {*self.questions}

    def judge(self, case: Case) -> Iterator[Comparison]:
        """Every comparison on which the verdict rests."""
        raise NotImplementedError

    def spoils(self, run: Experiment) -> list[Path]:
        """Where anything that is answered differently has to turn it red; [] if nobody is asked."""
        raise NotImplementedError

    def reads(self, reading: Reading) -> dict[str, Any]:
        """The keys that mean something else than what is written, as they are meant."""
        raise NotImplementedError

    # what a kind may say beyond that

    def tells(self) -> dict[str, Any]:
        """What a subject has to be told beside the experiment: of one claim it is one thing."""
        return {}

    def carries(self, claim: Path_) -> dict[str, Any]:
        """What a subject is told that stands beside the file of the claim."""
        return {}

    def gradients(self, run: Experiment) -> list[str]:
        """Whose gradients it wants, where it asks for any."""
        return []

    def praise(self, case: Case) -> str:
        """What has to be said beside that it agrees."""
        return ""

    def allowed(self, run: Experiment) -> Sequence[str] | None:
        """What `of` may be in this claim; None if the schema says it all."""
        return None

    def missing(self, run: Experiment) -> Iterator[str]:
        """What it needs and the claim does not give."""
        yield from (need.what for need in self.needs if not need.there(run))

    def unjudged(self, run: Experiment) -> str:
        """Why nobody can judge it yet, though nothing is wrong with it; empty if they can."""
        return ""

    def unjudged_in(self, policy: Policy) -> str:
        """The same of a subject of that dtype policy."""
        return ""

    # what holds for all of them; a key of the same name is in the place of each of these

    @property
    def what(self) -> str:
        return str(self.__struct_config__.tag)

    @property
    def of(self) -> str:
        return ""

    @property
    def at(self) -> At:
        return At()

    @property
    def on(self) -> Literal["subject", "printed"]:
        return "subject"

    @property
    def promised(self) -> bool:
        """Whether a subject for which it does not hold is worse than one for which it does."""
        return True

    @property
    def computed_in(self) -> str | None:
        return None

    @property
    def value(self) -> Any:
        return None

    @property
    def name(self) -> str:
        """How tables call it: "gradient of kernel", "output at timestep 3"."""
        name = f"{self.what} of {self.of}" if self.of else self.what
        if self.on == "printed":
            name += " as printed"
        places = [f"{axis} {index}" for axis, index in self.at.given().items()]
        return f"{name} at {', '.join(places)}" if places else name

    def axes(self, ndim: int) -> tuple[str, ...]:
        """What the axes of the whole array are called by who wrote the claim."""
        return axes(self.what, self.of, ndim)

    def select(self, array: Array) -> Array:
        """The entries of `array` that the value speaks of."""
        at = self.at.given()
        for axis, name in reversed(list(enumerate(self.axes(array.ndim)))):
            if name in at:
                array = np.take(array, at[name], axis=axis)
        return array

    def places(self, shape: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[Array, ...]]:
        """The names of the whole array's axes, and where on them each selected entry stands."""
        return self.axes(len(shape)), tuple(self.select(index) for index in np.indices(shape))

    def asked(self, run: Experiment) -> set[str]:
        """What is asked of a subject: nothing, where it is not run."""
        return set() if self.not_run else self.asks(run)

    def underived(self, run: Experiment) -> str:
        """Why nobody here can judge it of such layers; empty if it can be judged."""
        if self.layers == "plain" and not run.is_plain:
            plain = f"{any_of(FAMILIES)}, alone or before a Dense layer"
            return f"{self.what} is derived of {plain}, only"
        return ""

    def read_in(self, reading: Reading) -> Self:
        """The same with its value read. ClaimError if it does not fit the experiment."""
        run = reading.experiment
        reason = self.underived(run)
        if not reason:
            self._of(reading)
            for need in () if self.not_run else self.missing(run):
                problem = f"{self.what} needs {need}, which the claim does not give"
                raise reading.fail("what", problem)
            reason = self.unjudged(run)
        if self.known_to_differ and self.not_run:
            raise reading.fail("not_run", "not together with known_to_differ")
        told = msgspec.structs.replace(self, not_run=self.not_run or reason)
        return msgspec.structs.replace(told, **told.reads(reading))

    def _of(self, reading: Reading) -> None:
        run, allowed = reading.experiment, self.allowed(reading.experiment)
        if allowed is None or self.of in allowed:
            return
        if not self.of:
            raise reading.fail("of", f"required: one of {', '.join(filter(None, allowed))}")
        bare = self.of.removeprefix(f"{run.layers[0].name}.")
        hint = meant(bare) if bare in allowed else nearest(self.of, filter(None, allowed))
        raise reading.fail("of", f"unknown {self.of!r}{hint}")


def axes(what: str, of: str, ndim: int) -> tuple[str, ...]:
    """What the axes of an array are called, in claim files (`at`) and in reports."""
    of = of.rpartition(".")[2] if what == "gradient" else of
    of_weights = what in ("gradient", "initial_weights", "trained_weights")
    if of_weights and of not in ("x", "initial_state", "delta"):
        return {0: (), 1: ("unit",), 2: ("row", "column")}[ndim]
    if of == "initial_state" and ndim == 3:
        return ("state", "sample", "unit")
    last = "feature" if what == "input" or of == "x" else "unit"
    return {0: (), 1: (last,), 2: ("sample", last), 3: ("sample", "timestep", last)}[ndim]


class Unasked(Expectation, frozen=True, kw_only=True):
    """What no subject is asked about."""

    family: ClassVar[bool] = True

    def asks(self, run: Experiment) -> set[str]:
        return set()

    def spoils(self, run: Experiment) -> list[Path]:
        return []


class Holds(Expectation, frozen=True, kw_only=True):
    """What is true or not."""

    family: ClassVar[bool] = True
    value: Holding

    def reads(self, reading: Reading) -> dict[str, Any]:
        if self.value is not True:
            raise reading.fail("value", f"expected true, got {self.value!r}")
        return {}
