"""Which subjects are `verify` and `observe` to ask, and how?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from rnn_check.cli.commands import BadInput
from rnn_check.cli.options import (
    BACKENDS,
    DTYPES_ARE,
    MEMORY,
    MODES,
    PATTERN,
    SLOW,
    TIMEOUT,
    as_one,
)
from rnn_check.refusal import nearest
from rnn_check.reports.terminal import say
from rnn_check.subjects.asked.named import FAMILIES
from rnn_check.subjects.policy import NAMES

if TYPE_CHECKING:
    from rnn_check.asking.observations import Observations
    from rnn_check.asking.run import Target

COMPILED = {"tensorflow": "function", "jax": "xla"}  # the mode asked beside eager
BESIDE_KERAS = {  # the other frameworks, and the dtypes that they are asked in
    "torch": ("float32", "float64", "floatx_float64"),
    "onnx": ("float32", "float64"),
    "onnxruntime": ("float32",),
    "flax": ("float32", "float64"),
    "equinox": ("float32", "float64"),
}


@dataclass(frozen=True)
class Subjects:
    """The options, as they were typed."""

    framework: str
    backends: tuple[str, ...]
    modes: tuple[str, ...]
    dtypes: tuple[str, ...]
    layer: str | None
    pattern: str | None
    slow: bool
    options: bool
    timeout: float
    memory: int

    @property
    def are_all(self) -> bool:
        """Whether those that are installed are meant, whichever they are."""
        return "all" in self.backends

    def targets(self) -> list[Target]:
        """The processes to start, and how each is asked."""
        if self.framework != "keras":
            return [self._of_framework()]
        layer = self._own_layer()
        from rnn_check.asking import run
        from rnn_check.asking.request import Setting

        chosen = self._backends()
        targets = []
        for backend in chosen:
            asked = [mode for mode in dict.fromkeys(self.modes) if mode in run.modes(backend)]
            if not self.modes:
                asked = ["eager"]
                if backend in COMPILED and (len(chosen) > 1 or self.are_all):
                    asked.append(COMPILED[backend])
            dtypes = dict.fromkeys(self.dtypes)
            settings = tuple(Setting(m, d, layer, self.slow) for d in dtypes for m in asked)
            if settings:
                targets.append(run.Target(backend, settings))
        for mode in self.modes:
            if not any(mode in run.modes(backend) for backend in chosen):
                having = [backend for backend in BACKENDS if mode in run.modes(backend)]
                raise BadInput(
                    f"--mode: {', '.join(chosen)} {'has' if len(chosen) == 1 else 'have'} no mode "
                    f"{mode!r}, only {', '.join(having)}"
                )
        return targets

    def _backends(self) -> list[str]:
        from rnn_check.asking.run import installed
        from rnn_check.subjects.asked.backends import default_backend

        if not self.are_all:
            # Keras's default is from the environment, or its configuration
            chosen = list(dict.fromkeys(self.backends)) or [default_backend()]
            for backend in chosen:
                if backend not in BACKENDS:
                    raise BadInput(f"unknown backend {backend!r}{nearest(backend, BACKENDS)}")
            return chosen
        chosen = [backend for backend in BACKENDS if installed(backend)]
        if absent := [backend for backend in BACKENDS if backend not in chosen]:
            say(f"not installed: {', '.join(absent)}")
        if not chosen:
            raise BadInput("--backend all: no backend is installed")
        return chosen

    def _own_layer(self) -> str | None:
        if self.layer is None:
            return None
        from rnn_check.subjects.own_layer import LayerError, checked

        try:
            return checked(self.layer)
        except LayerError as error:
            raise BadInput(f"--layer: {error}") from None

    def _of_framework(self) -> Target:
        """What is not Keras: one process, asked eagerly in the dtypes that it has."""
        from rnn_check.asking import run
        from rnn_check.asking.request import Setting

        name = f"--framework {self.framework}"
        for option, given in (("--backend", self.backends), ("--layer", self.layer)):
            if given:
                raise BadInput(f"{option}: is Keras's, and does not go with {name}")
        for option, all_given, has in (
            ("--mode", self.modes, ("eager",)),
            ("--dtype", self.dtypes, BESIDE_KERAS[self.framework]),
        ):
            if others := [each for each in all_given if each not in has]:
                what = "mode " * (option == "--mode")
                raise BadInput(
                    f"{option}: {name} has no {what}{others[0]!r}, only {', '.join(has)}"
                )
        dtypes = dict.fromkeys(self.dtypes)
        settings = tuple(Setting("eager", dtype, None, self.slow) for dtype in dtypes)
        return run.Target(self.framework, settings, framework=self.framework)

    def rerun(self, subject: Observations) -> list[str]:
        """The options that ask this subject alone."""
        who = subject.identity
        words = ["--backend", who.backend] if self.backends else []
        words += ["--framework", who.framework] if not who.is_keras else []
        how = subject.setting
        words += ["--layer", how.layer] if how.layer else []
        words += ["--mode", how.mode] if how.mode != "eager" else []
        words += ["--dtype", how.dtype] if how.dtype != "float32" else []
        return words + (["--slow"] if how.slow else [])


def _known(
    context: click.Context, option: click.Parameter, backends: Sequence[str]
) -> Sequence[str]:
    for backend in backends:
        if backend not in (*BACKENDS, "all"):
            raise BadInput(f"--backend: unknown backend {backend!r}{nearest(backend, BACKENDS)}")
    return backends


BACKEND = click.option(
    "--backend",
    "backends",
    multiple=True,
    callback=_known,
    metavar="|".join((*BACKENDS, "all")),
    help="The Keras backend to ask; may be repeated. `all`: those that are installed.  "
    "[default: what Keras itself would take]",
)
MODE = click.option(
    "--mode",
    "modes",
    multiple=True,
    type=click.Choice(MODES),
    help="How the layer is run: eager, compiled as a graph (tf.function), or by XLA; may be "
    "repeated, and is asked of the backends that have it.  [default: eager; of several "
    "backends also the compiled one: function on tensorflow, xla on jax]",
)
DTYPE = click.option(
    "--dtype",
    "dtypes",
    multiple=True,
    type=click.Choice(NAMES),
    metavar="DTYPE",
    default=["float32"],
    show_default=True,
    help="The dtype policy of every layer; may be repeated. float64: of the layers alone, "
    "while keras.config.floatx() stays float32; floatx_float64: of both. "
    f"{DTYPES_ARE}",
)
_STANDS_IN = ", ".join(kind + " (without KIND)" * (kind == "SimpleRNN") for kind in FAMILIES)
LAYER = click.option(
    "--layer",
    metavar="[KIND=]FILE.py:CLASS",
    help=f"Judge this class in place of keras.layers.KIND: {_STANDS_IN}, or the cell of one of "
    "them.",
)
ASKED = as_one(
    "how",
    Subjects,
    click.option(
        "--framework",
        type=click.Choice(("keras", *BESIDE_KERAS)),
        default="keras",
        show_default=True,
        help="What to ask. torch: torch.nn.RNN, LSTM, GRU and Linear in place of Keras's layers; "
        "onnx, onnxruntime: nodes RNN, LSTM and GRU, in the reference evaluator or in ONNX "
        "Runtime; flax, equinox: cells. What they do not have is not run.",
    ),
    BACKEND,
    MODE,
    DTYPE,
    LAYER,
    PATTERN,
    SLOW,
    click.option(
        "--options",
        is_flag=True,
        help="Judge also what the options of Keras's layers do (a minute or more).  "
        "[default: if several backends are asked]",
    ),
    TIMEOUT,
    MEMORY,
)
