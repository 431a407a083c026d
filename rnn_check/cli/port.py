"""Is a layer the same after its weights were taken to another framework?"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import click

from rnn_check.cli.commands import BadInput, main
from rnn_check.cli.options import BACKENDS
from rnn_check.reports.terminal import as_json, plain, say

if TYPE_CHECKING:
    from rnn_check.asking.ported import Kept
    from rnn_check.subjects.ask import Subject
    from rnn_check.verdicts.porting import Direction


@main.command()
@click.argument("before", metavar="FILE:LAYER")
@click.argument("after", metavar="[FILE:LAYER]", required=False)
@click.option("--backend", type=click.Choice(BACKENDS), help="Keras's, where a file is Keras's.")
@click.option("--onnxruntime", is_flag=True, help="ONNX Runtime computes what a .onnx file holds.")
@click.option("--samples", type=click.IntRange(1, 1000), default=2, show_default=True)
@click.option("--timesteps", type=click.IntRange(1, 10_000), default=8, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the input.")
@click.option("--json", "as_document", is_flag=True, help="The same as a JSON document.")
def port(
    before: str,
    after: str | None,
    backend: str | None,
    onnxruntime: bool,
    samples: int,
    timesteps: int,
    seed: int,
    as_document: bool,
) -> None:
    """Are the weights of two files the same layer, and does each framework compute it?

    FILE is a state dict of torch (.pt, .pth, loaded as weights and nothing else; .safetensors), a
    model or weights of Keras (.keras, .h5, .weights.h5), or .onnx; LAYER its name there, which may
    be left out where there is but one. Weights are compared after conversion, bit for bit; what was
    forgotten in it is named. Both are run on the same generated input, and each certified: with one
    FILE:LAYER alone, that one.

    Exit codes: 0 the same and certified, 1 not so, 2 bad input or usage, 3 a framework could not be
    asked.
    """
    from rnn_check.asking import ported
    from rnn_check.reports import porting as reports
    from rnn_check.subjects.ask import NotInstalled, SubjectError

    places = [ported.place(each) for each in (before, after) if each is not None]
    frameworks = {each.framework for each in places}
    if backend and "keras" not in frameworks:
        raise BadInput("--backend: none of the files is Keras's")
    if onnxruntime and "onnx" not in frameworks:
        raise BadInput("--onnxruntime: none of the files is an .onnx file")
    try:
        with contextlib.ExitStack() as stack:
            subjects = _opened(frameworks, backend, onnxruntime, stack)
            layers = [ported.kept(each, subjects[each.framework]) for each in places]
            directions = _directions(layers, subjects, samples, timesteps, seed)
    except NotInstalled as error:
        raise BadInput(str(error)) from None
    except SubjectError as error:
        raise _NotAsked(str(error)) from None
    if as_document:
        click.echo(as_json(json.dumps(reports.document(layers, directions), indent=2)))
    else:
        click.echo(plain("\n".join(reports.lines(layers, directions))))
    raise SystemExit(0 if all(each.ok for each in directions) else 1)


def _opened(
    frameworks: set[str], backend: str | None, onnxruntime: bool, stack: contextlib.ExitStack
) -> dict[str, Subject]:
    from rnn_check.subjects.ask import Subject
    from rnn_check.subjects.process import amount

    found = {}
    for each in sorted(frameworks):
        name = "onnxruntime" if each == "onnx" and onnxruntime else each
        say(f"{name} is imported")
        other: dict[str, Any] = {"framework": name} if each != "keras" else {}
        found[each] = stack.enter_context(
            Subject(backend if each == "keras" else None, memory=amount("50%"), **other)
        )
    return found


def _directions(
    layers: list[Kept], subjects: dict[str, Subject], samples: int, timesteps: int, seed: int
) -> list[Direction]:
    """Of both layers, or of one alone."""
    from rnn_check.asking import ported
    from rnn_check.verdicts import porting

    ways = [(way,) for way in layers[0].ways] if len(layers) == 1 else list(ported.pairs(*layers))
    dtype = "float64" if all(each.dtype == "float64" for each in layers) else "float32"
    found = []
    for group in ways:
        told = [way.spec["activation"] for way in group if "activation" in way.spec]
        x = ported.generated(group[0].features, samples, timesteps, seed)
        fits = len({(way.kind, way.features) for way in group}) == 1
        runs = []
        for layer, way in zip(layers, group, strict=True):
            if fits:
                activation = way.spec.get("activation", told[0] if told else "tanh")
                subject = subjects[layer.place.framework]
                states = ported.states(layer, way, activation, x, dtype, subject)
                runs.append(porting.computed(way, activation, x, states, dtype))
        frameworks = [layer.place.framework for layer in layers]
        found.append(porting.Direction.of(group, frameworks, runs))
    return found


class _NotAsked(click.ClickException):
    exit_code = 3

    def format_message(self) -> str:
        return plain(self.message)
