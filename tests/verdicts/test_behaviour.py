"""Would a behaviour that is wrong be seen?  Answers made with the reference, right and wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_check.asking import request
from rnn_check.claims import files, stack
from rnn_check.claims.claim import Claim
from rnn_check.claims.expectations.one_step import LEARNING_RATE
from rnn_check.claims.layers.signal import Call
from rnn_check.claims.written import Array
from rnn_check.numbers import formats
from rnn_check.recurrences import over_time
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER, NOT_RUN
from tests.support import bundled
from tests.support.sampling import sampled, thinned

OPTIONS = Path(__file__).parents[2] / "fixtures" / "options"
UPDATES = bundled.in_file(OPTIONS / "dropout" / "one_update.toml")
Masks = tuple[Array, Array]  # of the input's features and of the state's units, scaled

DRAWN = np.array([2.0, 0.0, 2.0]), np.array([0.0, 2.0, 2.0])
OTHER = np.array([2.0, 2.0, 0.0]), np.array([0.0, 2.0, 2.0])
OTHER_STATE = np.array([2.0, 0.0, 2.0]), np.array([2.0, 2.0, 0.0])
NONE = np.ones(3), np.ones(3)


def passed(c: Claim, weights: dict[str, Array], masks: Masks) -> tuple[Array, Any]:
    """The last state and what the backward pass needs, with these masks."""
    assert c.x is not None
    own = {**weights, "recurrent_kernel": masks[1][:, None] * weights["recurrent_kernel"]}
    start = None if c.initial_state is None else c.initial_state.value
    states, cache = over_time.forward(
        c.x.value * masks[0], **own, **c.recurrence, initial_state=start
    )
    return states, cache


def answer(
    c: Claim,
    forward: Masks = DRAWN,
    backward: Masks = DRAWN,
    rate: float = LEARNING_RATE,
    afterwards: Masks = NONE,
) -> request.Answer:
    """What a subject says that draws one mask for its loss and another for its gradients."""
    assert c.weights is not None and c.loss is not None
    weights = {name: given.value for name, given in c.weights[c.rnn.name].items()}
    target = c.loss.value.value
    states, _ = passed(c, weights, forward)
    loss = np.mean((states[:, -1] - target) ** 2)
    states, cache = passed(c, weights, backward)
    cotangent = np.zeros_like(states)
    cotangent[:, -1] = 2 * (states[:, -1] - target) / target.size
    gradients = over_time.backward(cotangent, cache)._asdict()
    gradients["recurrent_kernel"] *= backward[1][:, None]
    after = {n: (w - rate * gradients[n]).astype(np.float32) for n, w in weights.items()}
    output, _ = passed(c, {n: w.astype(float) for n, w in after.items()}, afterwards)
    before = {n: w.astype(np.float32) for n, w in weights.items()}
    told = {
        "before": {c.rnn.name: before},
        "after": {c.rnn.name: after},
        "loss": np.float64(loss),
        "output": output[:, -1].astype(np.float32),
    }
    return request.Answer({"one_update": told})


def verdict(c: Claim, **how: Any) -> str:
    (found,) = judge.judge(c, answer(c, **how))
    return found.verdict


@pytest.mark.parametrize("c", sampled(UPDATES, 8), ids=lambda c: c.name)
def test_loss_and_gradients_of_one_mask_agree(c: Claim) -> None:
    assert verdict(c) == AGREE
    assert verdict(c, forward=OTHER, backward=OTHER) == AGREE  # whichever it is


def test_a_step_starts_from_the_initial_state_that_is_given(tmp_path: Path) -> None:
    text = (OPTIONS / "dropout" / "one_update.toml").read_text(encoding="utf-8")
    started = tmp_path / "started.toml"
    started.write_text(text.replace("[loss]", "initial_state = [[0.5, -1, 0.25]]\n\n[loss]"))
    c, *_ = files.load_each(started)
    plain, *_ = UPDATES
    assert verdict(c) == AGREE
    (found,) = judge.judge(plain, answer(c))
    assert found.verdict == DIFFER


@thinned(100)
@pytest.mark.parametrize("c", UPDATES, ids=lambda c: c.name)
@pytest.mark.parametrize(
    "how",
    [
        {"forward": OTHER},
        {"forward": OTHER_STATE},
        {"backward": OTHER},
        {"forward": NONE},
        {"forward": NONE, "backward": NONE},
        {"forward": (DRAWN[0] / 2, DRAWN[1]), "backward": (DRAWN[0] / 2, DRAWN[1])},
        {"rate": -LEARNING_RATE},
        {"rate": LEARNING_RATE * (1 + 1e-4)},
        {"rate": 0.0},
        {"afterwards": DRAWN},
    ],
    ids=[
        "the loss of another mask on the input", "the loss of another mask on the state",
        "gradients of another mask", "a loss without dropout", "no dropout at all",
        "not scaled", "uphill", "another rate", "nothing trained", "dropout in inference",
    ],
)  # fmt: skip
def test_what_no_mask_explains_differs(c: Claim, how: dict[str, Any]) -> None:
    assert verdict(c, **how) == DIFFER


def test_where_the_gradient_is_zero_nothing_has_to_be_trained(tmp_path: Path) -> None:
    text = (OPTIONS / "dropout" / "one_update.toml").read_text(encoding="utf-8")
    layer, rest = text[text.index("[layer]") :].split("[weights]")
    rest = rest[rest.index("[[expect]]") :]
    (tmp_path / "c.toml").write_text(
        f"schema = 1\ntitle = 'zeros'\nsource = {{ document = 'd' }}\n{layer}"
        f"[weights]\nkernel = {np.ones((3, 3)).tolist()}\nbias = [0, 0, 0]\n"
        f"recurrent_kernel = {np.ones((3, 3)).tolist()}\n[input]\nx = [[[0, 0, 0]]]\n"
        f"[loss]\nkind = 'mse'\ntarget = [[0, 0, 0]]\n{rest}"
    )
    (c,) = files.load_each(tmp_path / "c.toml")
    assert verdict(c) == AGREE


@pytest.mark.parametrize(("loss", "wanted"), [(1.5, AGREE), (1.0, DIFFER)])
def test_the_loss_of_evaluate_holds_what_weights_add(loss: float, wanted: str) -> None:
    """An output of 1 beside a target of 0, and half the square of a kernel of 1."""
    c = stepped("loss_of_evaluate", 1, 0, kernel_regularizer='{ kind = "L2", l2 = 0.5 }')
    told = {"loss": np.float64(loss), "output": np.ones((1, 1), np.float32)}
    (found,) = judge.judge(c, request.Answer({"evaluate": told}))
    assert found.verdict == wanted


# -- what is frozen, and what is constrained -------------------------------------------------------


def stepped(kind: str, x: float, target: float, bias: float = 0.0, **options: str) -> Claim:
    """A linear layer of one unit before a frozen Dense layer of weight 1: h = kernel·x + bias."""
    keys = "".join(f"{name} = {value}\n" for name, value in options.items())
    return files.loads(
        f"""
        schema = 1
        title = "one step"
        source = {{ document = "d" }}
        [[layers]]
        kind = "SimpleRNN"
        units = 1
        activation = "linear"
        {keys}
        [[layers]]
        kind = "Dense"
        units = 1
        trainable = false
        [weights.simple_rnn]
        kernel = [[1]]
        recurrent_kernel = [[0]]
        bias = [{bias}]
        [weights.dense]
        kernel = [[1]]
        bias = [0]
        [input]
        x = [[[{x}]]]
        [loss]
        kind = "mse"
        target = [[{target}]]
        [[expect]]
        what = "{kind}"
        value = true
        from = "d"
        """
    )


def of_step(c: Claim, policy: str = "float32", **moved: float) -> str:
    """The verdict on a subject that leaves the weights as they are, but for these."""
    assert c.weights is not None
    before = {
        layer: {name: g.value.astype(np.float32) for name, g in table.items()}
        for layer, table in c.weights.items()
    }
    own = {**before["simple_rnn"]}
    own |= {name: np.full_like(own[name], value) for name, value in moved.items()}
    told = {
        "before": before, "after": {**before, "simple_rnn": own},
        "trainable": {"simple_rnn": [*own]},
    }  # fmt: skip
    (found,) = judge.judge(c, request.Answer({"fit_once": told}), dtype=policy)
    return found.verdict


NON_NEGATIVE = {"kernel_constraint": '"NonNeg"', "bias_constraint": '"NonNeg"'}


def test_where_nothing_goes_back_nothing_has_to_move() -> None:
    for kind in ("frozen", "constrained"):
        assert of_step(stepped(kind, 1, 1, **NON_NEGATIVE)) == AGREE  # it is what it should be
        assert of_step(stepped(kind, 0, 0, **NON_NEGATIVE)) == AGREE
        # 1 - 2⁻²⁸ is 1 in float32, which leaves no gradient; nor would its step move a weight of 1
        assert of_step(stepped(kind, 1, 1, -(2.0**-28), kernel_constraint='"NonNeg"')) == AGREE


def test_what_is_held_at_zero_by_its_constraint_need_not_move() -> None:
    c = stepped("constrained", 1, -1, **NON_NEGATIVE)  # the bias of 0 would go below it
    assert of_step(c, kernel=0.5) == AGREE
    assert of_step(c) == DIFFER  # the kernel is 1 still
    assert of_step(stepped("frozen", 1, -1, **NON_NEGATIVE), kernel=0.5) == AGREE


def test_what_has_a_gradient_has_to_move() -> None:
    for kind in ("frozen", "constrained"):
        c = stepped(kind, 1, 3, **NON_NEGATIVE)
        assert of_step(c) == DIFFER
        assert of_step(c, kernel=1.5, bias=0.5) == AGREE
        assert of_step(c, kernel=1.5) == DIFFER


def test_a_step_that_half_precision_may_have_skipped_is_not_judged() -> None:
    for kind in ("frozen", "constrained"):
        c = stepped(kind, 1, 3, **NON_NEGATIVE)
        assert of_step(c, "mixed_float16") == NOT_RUN
        assert of_step(c, "mixed_float16", kernel=1.5) == DIFFER
        assert of_step(c, "mixed_float16", kernel=1.5, bias=0.5) == AGREE


def test_norms_along_another_axis_are_not_judged() -> None:
    c = stepped("constrained", 1, 3, kernel_constraint='{ kind = "MaxNorm", axis = 1 }')
    assert next(e.not_run for e in c.expectations)


def test_a_mask_whose_powers_overflow_is_not_judged() -> None:
    text = (OPTIONS / "dropout" / "recurrent.toml").read_text(encoding="utf-8")
    c = files.loads(text.replace("recurrent_dropout = 0.375", "recurrent_dropout = 0.98"))
    rng = np.random.default_rng(0)
    masks = (rng.random((2, 64, 1, 64)) >= 0.98) / np.float32(0.02)
    with np.errstate(over="ignore"):
        first, later = (masks ** np.arange(4)[:, None]).astype(np.float16)
    told: dict[str, Any] = {
        "recurrent": first, "next": {"recurrent": later}, "again": None,
        "inference": {"recurrent": np.ones_like(first)},
    }  # fmt: skip
    found = judge.judge(c, request.Answer({"dropout": told}), dtype="mixed_float16")[0]
    assert (found.what, found.verdict) == ("dropout of recurrent", NOT_RUN)


# -- layers with several states -------------------------------------------------------------------


def stateful(c: Claim) -> dict[str, Any]:
    """What a subject says whose two directions carry their states on."""
    assert c.x is not None and c.weights is not None
    (table,) = c.weights.values()
    sides = [
        {n.removeprefix(side): g.value for n, g in table.items() if n.startswith(side)}
        for side in ("forward.", "backward.")
    ]
    runs, ends = [], []
    state: list[Array | None] = [None, None]
    for number in range(3):
        state = [None, None] if number == 2 else state
        both = [
            over_time.forward(
                c.x.value, **own, mask=c.mask, initial_state=start, go_backwards=backwards
            )[0]
            for own, start, backwards in zip(sides, state, (False, True), strict=True)
        ]
        state = [states[:, -1] for states in both]
        shown = [both[0], both[1][:, ::-1]]
        if c.mask is not None:
            shown = [np.where(c.mask[..., None], part, 0) for part in shown]
        runs.append(np.concatenate(shown, axis=-1).astype(np.float32))
        ends.append([part.astype(np.float32) for part in state if part is not None])
    weights = {n: g.value.astype(np.float32) for n, g in table.items()}
    told = {"runs": runs, "states": [*ends, [np.zeros_like(end) for end in ends[0]]]}
    return {"stateful": told, "weights": {c.layers[0].name: weights}}


@pytest.mark.parametrize(
    "c", bundled.in_file(OPTIONS / "stateful" / "bidirectional.toml"), ids=lambda c: c.name
)
def test_two_states_that_are_carried_on_agree_and_that_are_not_differ(c: Claim) -> None:
    told = stateful(c)

    def found() -> str:
        return judge.judge(c, request.Answer(told))[0].verdict

    assert found() == AGREE
    runs, states = told["stateful"]["runs"], told["stateful"]["states"]
    right = runs[1], states[1], states[3]
    runs[1], states[1] = runs[0], states[0]  # forgotten between calls
    assert found() == DIFFER
    runs[1], states[1] = right[0], right[1][::-1]  # each side has the other's
    assert found() == DIFFER
    states[1], states[3] = right[1], states[2]  # not reset
    assert found() == DIFFER


CROSSED = [
    c
    for kind in ("lstm", "gru")
    for c in files.load_each(OPTIONS / "stateful" / f"crossed_{kind}.toml", kind)
    if c.mask is not None
]


@thinned(9)
@pytest.mark.parametrize("c", CROSSED, ids=lambda c: c.name)
def test_before_the_first_step_that_counts_zeros_or_the_start_are_shown(c: Claim) -> None:
    """Zeros by tensorflow and torch, the state that was carried here by jax and numpy."""
    assert c.x is not None and c.weights is not None and c.mask is not None
    layer: Any = c.layers[0]
    weights = {n: g.value.astype(np.float32) for n, g in c.weights[layer.name].items()}
    a = formats.arithmetic("float32")
    own, signal = stack.exactly(weights, a), stack.Signal.exactly(c.x.value, a, c.mask)
    none_yet = stack.shown_as_zero(layer.in_order(c.mask), False)  # (B,T,1)
    assert none_yet.any() is np.bool_(layer.option("go_backwards"))

    def found(before: str) -> str:
        state = [np.zeros((3, 2), np.float32) for _ in layer.states]
        runs, ends = [], []
        for number in range(3):
            state = [np.zeros_like(s) for s in state] if number == 2 else state
            start = [(s.astype(float), np.zeros(s.shape)) for s in state]
            shown = layer.passed(Call(own, signal, start)).out.value
            if before != "zeros":
                shown = np.where(none_yet, state[0][:, None] + (before == "neither"), shown)
            runs.append(shown.astype(np.float32))
            ended = layer.ends(Call(own, signal, start))
            state = [end.astype(np.float32) for end, _ in ended.values()]
            ends.append(state)
        states = [*ends, [np.zeros_like(s) for s in state]]
        each = states if len(layer.states) > 1 else [s for (s,) in states]
        told = {"stateful": {"runs": runs, "states": each}, "weights": {layer.name: weights}}
        return judge.judge(c, request.Answer(told))[0].verdict

    assert found("zeros") == AGREE
    zeros = layer.option("zero_output_for_mask")
    assert found("start") == (DIFFER if zeros and none_yet.any() else AGREE)
    assert found("neither") == (DIFFER if none_yet.any() else AGREE)


GIVEN = """
schema = 1
title = "stateful, and given a state"
source = {document = "a test"}
layer = {kind = "KIND", LAYER}
[weights]
WEIGHTS
[input]
x = [[[1], [2], [0.5]]]
initial_state = STATE
[[expect]]
what = "stateful"
of = "call"
value = true
from = "a test"
"""
SIMPLE = {
    "KIND": "SimpleRNN",
    "LAYER": "units = 1",
    "WEIGHTS": "kernel = [[0.5]]\nrecurrent_kernel = [[0.25]]\nbias = [0.125]",
    "STATE": "[[0.75]]",
}
CELL = SIMPLE | {
    "KIND": "RNN",
    "LAYER": 'cell = {kind = "SimpleRNNCell", units = 1}, return_sequences = true',
}
BOTH = {
    "KIND": "Bidirectional",
    "LAYER": 'layer = {kind = "SimpleRNN", units = 1, return_sequences = true}',
    "WEIGHTS": "\n".join(
        f"{side} = {{kernel = [[{w}]], recurrent_kernel = [[0.25]], bias = [0.125]}}"
        for side, w in (("forward", 0.5), ("backward", -0.5))
    ),
    "STATE": "[[[0.75]], [[-0.5]]]",
}


@pytest.mark.parametrize("parts", [SIMPLE, CELL, BOTH], ids=lambda parts: parts["KIND"])
def test_stateful_starts_from_the_state_that_is_given(parts: dict[str, str]) -> None:
    """Every run is given it; zeros, or the end of the run before, are not where it starts."""
    text = GIVEN
    for name, part in parts.items():
        text = text.replace(name, part)
    c = files.loads(text)
    assert c.x is not None and c.weights is not None and c.initial_state is not None
    (table,) = c.weights.values()
    x = c.x.value.astype(np.float32)

    def run(starts: list[float]) -> tuple[Array, Any]:
        sides, ends = [], []
        for index, start in enumerate(starts):
            prefix = ("forward.", "backward.")[index] if len(starts) == 2 else ""
            own: dict[str, Any] = {
                n: table[prefix + n].value.astype(np.float32)
                for n in ("kernel", "recurrent_kernel", "bias")
            }
            states, _ = over_time.forward(
                x, **own, initial_state=np.array([[start]], np.float32), go_backwards=index == 1
            )
            sides.append(states[:, ::-1] if index else states)
            ends.append(states[:, -1])
        return np.concatenate(sides, -1), ends if len(ends) == 2 else ends[0]

    def verdict_on(*starts: list[float]) -> str:
        ran = [run(start) for start in starts]
        reset = [np.zeros((1, 1), np.float32)] * len(starts[0])
        told = {
            "runs": [output for output, _ in ran],
            "states": [*(end for _, end in ran), reset if len(reset) == 2 else reset[0]],
        }
        (layer,) = c.weights or {}
        weights = {n: g.value.astype(np.float32) for n, g in table.items()}
        observed = {"stateful": told, "weights": {layer: weights}}
        (verdict,) = judge.judge(c, request.Answer(observed))
        return verdict.verdict

    given = c.initial_state.value.ravel().tolist()
    zeros = [0.0] * len(given)
    ends = np.ravel(run(given)[1]).tolist()
    assert verdict_on(given, given, given) == AGREE
    assert verdict_on(zeros, given, given) == DIFFER
    assert verdict_on(given, ends, given) == DIFFER
    assert verdict_on(given, given, zeros) == DIFFER


ALL_MASKED = """
schema = 1
title = "no step counts"
source = {document = "a test"}
[[layers]]
kind = "Masking"
mask_value = 1e30
[[layers]]
kind = "SimpleRNN"
units = 1
activation = "relu"
return_sequences = true
use_bias = false
[weights.simple_rnn]
kernel = [[1]]
recurrent_kernel = [[1]]
[input]
x = [[[1e30]]]
[loss]
kind = "mse"
target = [[[1]]]
[[expect]]
what = "loss_of_evaluate"
value = true
from = "a test"
"""


@pytest.mark.parametrize(
    ("loss", "wanted"), [(0.0, AGREE), (1.0, DIFFER), (np.inf, DIFFER), (np.nan, DIFFER)]
)
def test_a_loss_of_no_steps_is_zero(loss: float, wanted: str) -> None:
    told = {"loss": np.asarray(loss), "output": np.zeros((1, 1, 1), np.float32)}
    (verdict,) = judge.judge(files.loads(ALL_MASKED), request.Answer({"evaluate": told}))
    assert verdict.verdict == wanted, verdict.detail
    if wanted == DIFFER:  # what differs is a loss, and no step
        assert "the subject's loss does not follow from its own numbers" in verdict.detail
    claimed = ALL_MASKED.replace("loss_of_evaluate", "loss").replace("value = true", "value = 0")
    c = files.loads(claimed.replace("from =", 'computed_in = "float32"\nfrom ='))
    (verdict,) = judge.judge(c, request.Answer({"gradients": {"loss": np.asarray(loss)}}))
    assert verdict.verdict == wanted, verdict.detail


# -- before the first step that counts -----------------------------------------------------------

HIDDEN = """
schema = 1
title = "no step counts"
source = {document = "a test"}
[[layers]]
%s
name = "a"
return_sequences = true
[[layers]]
kind = "Dense"
name = "dense"
units = 1
use_bias = false
[weights.a]
kernel = [[1]]
recurrent_kernel = [[1]]
bias = [0]
[weights.dense]
kernel = [[2]]
[input]
x = [[[1]]]
mask = [[false]]
initial_state = [[3]]
[[expect]]
what = "certified"
value = true
from = "the recurrence itself"
"""


@pytest.mark.parametrize(
    ("state", "output", "wanted"),
    [(0, 0, AGREE), (3, 6, AGREE), (3, 5, DIFFER), (4, 8, DIFFER), (1, 2, DIFFER)],
)
@pytest.mark.parametrize(
    "layer",
    [
        'kind = "SimpleRNN"\nunits = 1\nactivation = "linear"',
        'kind = "RNN"\ncell = {kind = "SimpleRNNCell", units = 1, activation = "linear"}',
    ],
    ids=["a layer", "a cell"],
)
def test_what_is_made_of_zeros_or_of_the_start(
    layer: str, state: int, output: int, wanted: str
) -> None:
    c = files.loads(HIDDEN % layer, "c.claim.toml", "c")
    shown, made = (np.full((1, 1, 1), n, np.float32) for n in (state, output))
    own = {"kernel": [[1]], "recurrent_kernel": [[1]], "bias": [0]}
    weights = {
        "a": {name: np.array(value, np.float32) for name, value in own.items()},
        "dense": {"kernel": np.array([[2]], np.float32)},
    }
    told = {"states": shown, "output": made, "weights": weights}
    told["outputs"] = {"layers": [shown, made], "masks": [None, None], "states": []}
    (found,) = judge.judge(c, request.Answer(told))
    assert found.verdict == wanted, found.detail
