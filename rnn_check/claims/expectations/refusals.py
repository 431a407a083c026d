"""Does a framework refuse what is wrong?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from rnn_check.certificates.comparison import Comparison, equal
from rnn_check.claims.expectations.case import Case, Unsupported
from rnn_check.claims.expectations.expectation import Expectation, Path, Reading
from rnn_check.claims.experiment import Experiment

_EXCEPTION = msgspec.Meta(extra_json_schema={"type": "string"})


class Raises(Expectation, frozen=True, kw_only=True):
    """The name of the exception, or of one that it inherits from; needs [wrong].

    The same call with right arguments may raise nothing.
    """

    of: Literal["", "construct", "build", "call", "smaller batch"] = ""
    value: Annotated[Any, _EXCEPTION]

    layers = "any"
    needs = ()

    def missing(self, run: Experiment) -> Iterator[str]:
        if self.of == "smaller batch":
            if run.x is None or run.x.shape[0] < 2:
                yield "input.x of two samples or more"
        elif run.wrong is None:
            yield "a [wrong] table"

    def reads(self, reading: Reading) -> dict[str, Any]:
        if not isinstance(self.value, str) or not self.value.isidentifier():
            problem = f'expected the name of an exception, "ValueError", got {self.value!r}'
            raise reading.fail("value", problem)
        return {}

    def _question(self) -> str:
        return "shrunk" if self.of == "smaller batch" else "raises"

    def asks(self, run: Experiment) -> set[str]:
        return {self._question()}

    def spoils(self, run: Experiment) -> list[Path]:
        return [(self._question(), "raised", "0")] if self.value != "Exception" else []

    def judge(self, case: Case) -> Iterator[Comparison]:
        """It says something only where the same call with right arguments raises nothing."""
        told = case.said[self._question()]
        if "control" not in told:  # by an older rnn_check
            raise Unsupported("the same call with right arguments was not recorded: ask anew")
        control = told["control"]
        if "raised" in control:
            got = f"{control['raised'][0].text} at {control['at'].text}: {control['message'].text}"
            yield equal("subject", "the same call with right arguments", got, "no exception")
        if "raised" not in told:
            got = f"nothing (it returned {tuple(told['returned'].sizes)})"
            yield equal("subject", "raises", got, self.value, "claimed")
            return
        names = [each.text for each in told["raised"]]
        got = self.value if self.value in names else told["raised"][0].text
        yield equal("subject", "raises", got, self.value, "claimed")
        if self.of and self.of != "smaller batch":
            yield equal("subject", "raised at", told["at"].text, self.of, "claimed")
