"""Is each update of an honest training certified, and each spoilt one not?

The certificate is checked by executions of Adam in NumPy whose every operation is rounded (to
float32, or as far as rounding may go, in either direction). What is exact, in 50 digits, is in
tests/recurrences, and what Keras's own `fit` does in tests/keras.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rnn_check.asking import request as asking_request
from rnn_check.certificates import outcomes
from rnn_check.certificates import updates as certificates_updates
from rnn_check.certificates.updates import certify_training
from rnn_check.claims import files
from rnn_check.claims.expectations import training
from rnn_check.numbers.formats import arithmetic, gamma
from rnn_check.recurrences import losses as recurrences_losses
from rnn_check.recurrences import optimizers
from rnn_check.recurrences.network import Network
from rnn_check.recurrences.optimizers import Adam
from rnn_check.recurrences.updating import carried
from rnn_check.refusal import ClaimError
from rnn_check.verdicts import judge
from rnn_check.verdicts.judge import AGREE, DIFFER, NOT_RUN
from tests.support.sampling import long, thinned
from tests.support.trainings import (
    ADAM,
    ARTICLE,
    FILE,
    FORMS,
    NETWORKS,
    OPTIMIZERS,
    ROUNDINGS,
    U32,
    Execution,
    Weights,
    certified,
    initial,
    network,
    short,
    to_float32,
)  # fmt: skip
from tools import extreme_trainings

Array = npt.NDArray[Any]


# -- trainings in NumPy ----------------------------------------------------------------------------


@thinned(40)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("name", NETWORKS)
def test_no_rounding_of_any_form_leaves_the_bound(name: str, rounding: str, form: str) -> None:
    net, with_bias = NETWORKS[name]
    ran = Execution(net, ROUNDINGS[rounding], form).run(initial(net, with_bias), 25)
    found = certified(ran, net)
    assert found.ok, found.reason
    assert found.certified == found.updates == 25 * len(net.batches)
    assert set(found.ratios) == {"m", "v", "weights", "loss", "iterations"}


@thinned(40)
@pytest.mark.parametrize("half", [0, 2])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("by", OPTIMIZERS)
def test_nor_does_it_with_any_optimizer(by: str, name: str, half: int) -> None:
    """Two of the roundings, each in another form; the next network has the other two."""
    (net, with_bias), optimizer = NETWORKS[name], OPTIMIZERS[by]
    turn = [*OPTIMIZERS].index(by) + [*NETWORKS].index(name)
    rounding = [*ROUNDINGS][(turn + half) % 4]
    form = FORMS[(turn // 4 + half // 2) % 2]
    execution = Execution(net, ROUNDINGS[rounding], form, optimizer=optimizer)
    found = certified(execution.run(initial(net, with_bias), 4), net, optimizer=optimizer)
    assert found.ok, found.reason
    assert found.certified == found.updates == 4 * len(net.batches)
    assert set(found.ratios) == {*carried(optimizer), "weights", "loss", "iterations"}


@pytest.mark.parametrize("pow_is_off", [-optimizers._POW, 0, optimizers._POW])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_alpha_is_bounded_at_every_update(rounding: str, pow_is_off: int) -> None:
    r, t = ROUNDINGS[rounding], np.arange(1.0, 5001)
    powers = [
        float(np.float32(beta)) ** t * (1 + sign * pow_is_off * U32)
        for beta, sign in ((ADAM.beta_1, 1), (ADAM.beta_2, -1))
    ]
    first, second = (r(1 - power) for power in powers)
    alpha = r(r(r(ADAM.learning_rate) * r(np.sqrt(second))) / first)
    a = arithmetic("float32")
    bound = ADAM.correction(ADAM.rate(t - 1, a), t)
    # beside the powers: lr, two differences, root, product, quotient; the caller's share
    allowed = (bound.value + bound.error) * (1 + gamma(6, U32)) - bound.value
    assert (abs(alpha - bound.value) <= allowed).all()


@thinned(12)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NETWORKS)
def test_float64_is_certified_as_float64(name: str, form: str) -> None:
    net, with_bias = NETWORKS[name]
    ran = Execution(net, lambda value: value, form, np.float64).run(initial(net, with_bias), 25)
    found = certified(ran, net, dtype="float64")
    assert found.ok, found.reason
    rounded = Execution(net, to_float32, form).run(initial(net, with_bias), 25)
    assert not certified(rounded, net, dtype="float64").ok


# -- what is wrong in a recording, in one place ----------------------------------------------------


@pytest.fixture(scope="module")
def recording() -> dict[str, Any]:
    net, with_bias = NETWORKS["tanh"]
    return Execution(net, to_float32, "keras").run(initial(net, with_bias), 25)


def spoilt(recording: dict[str, Any], part: str, name: str, at: Any, value: Any) -> dict[str, Any]:
    copy = recursive(np.copy, recording)
    within = copy["states"] if part in copy["states"] else copy
    array = within[part][name] if name else within[part].astype(float)
    array[at] = value(array[at])
    if not name:
        within[part] = array
    return dict(copy)


def recursive(change: Callable[[Array], Any], part: Any) -> Any:
    """A recording, each of its arrays changed."""
    if isinstance(part, dict):
        return {name: recursive(change, inner) for name, inner in part.items()}
    return change(part)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["weights", "m", "v"])
def test_what_is_not_finite_is_found_where_it_is(
    recording: dict[str, Any], part: str, wrong: float
) -> None:
    bad = spoilt(recording, part, "recurrent_kernel", (17, 1, 2), lambda _: wrong)
    found = certified(bad, NETWORKS["tanh"][0])
    assert not found.ok
    assert found.where == (17, part, "recurrent_kernel[1, 2]")
    assert found.certified < 25


@pytest.mark.parametrize(
    ("part", "name", "at", "element"),
    [
        ("m", "kernel", (9, 0, 1), "kernel[0, 1]"),
        ("v", "dense.bias", (25, 1), "dense.bias[1]"),
        ("weights", "bias", (12, 2), "bias[2]"),
        ("loss", "", 7, "the epoch"),
        ("iterations", "", 3, "the optimizer"),
    ],
)
def test_one_number_beyond_its_bound_is_found_where_it_is(
    recording: dict[str, Any], part: str, name: str, at: Any, element: str
) -> None:
    net = NETWORKS["tanh"][0]
    q = certified(recording, net).quantities[part]
    update = (at[0] if name else at) + (part == "loss")
    column = q.elements.index(element)
    beyond = q.expected[update, column] + 1.5 * q.bound[update, column] + 0.5 * (part[0] == "i")
    found = certified(spoilt(recording, part, name, at, lambda _: beyond), net)
    assert not found.ok
    assert found.where == (update, part, element)
    assert f"{part} of {element} after update {update}: got" in found.reason
    within = q.expected[update, column] + 0.9 * q.bound[update, column]
    assert (
        certified(spoilt(recording, part, name, at, lambda _: within), net)
        .quantities[part]
        .ratios[update, column]
        <= 1
    )


def test_training_starts_with_the_given_weights_and_without_moments(
    recording: dict[str, Any],
) -> None:
    net, with_bias = NETWORKS["tanh"]
    given = initial(net, with_bias)
    assert certified(recording, net, start=given).ok
    given["bias"][1] = np.nextafter(np.float32(given["bias"][1]), np.float32(9))
    assert certified(recording, net, start=given).where == (0, "weights", "bias[1]")
    later = recursive(lambda array: array[1:], recording)
    assert certified(later, net).where[:2] == (0, "m")


def test_no_update_is_no_proof(recording: dict[str, Any]) -> None:
    none = recursive(lambda array: array[:1], recording) | {"loss": np.zeros(0)}
    found = certified(none, NETWORKS["tanh"][0])
    assert (found.ok, found.updates, found.judged) == (None, 0, 0)
    assert found.reason == "there is nothing to judge: there is no update"


@pytest.mark.parametrize(
    ("what", "size"),
    [("sample", (0, 4, 2)), ("timestep", (3, 0, 2)), ("feature", (3, 4, 0)), ("unit", (3, 4, 2)),
     ("output", (3, 4, 2))],
)  # fmt: skip
def test_nothing_to_train_is_neither_right_nor_wrong(what: str, size: tuple[int, ...]) -> None:
    H, O = 3 * (what != "unit"), 2 * (what != "output")  # noqa: E741
    shapes = {"kernel": (size[2], H), "recurrent_kernel": (H, H), "dense.kernel": (H, O)}
    zeros = {name: np.zeros((3, *shape)) for name, shape in shapes.items()}
    found = certify_training(
        zeros, {"m": zeros, "v": zeros}, optimizer=ADAM,
        network=Network(np.zeros(size), np.zeros((size[0], O))),
        iterations=np.arange(3), loss=np.zeros(2),
    )  # fmt: skip
    assert found.ok is None and found.certified == 0
    assert found.reason == f"there is nothing to judge: there is no {what}"


@long
def test_recordings_are_read_from_anywhere(recording: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")

    def tensors(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: tensors(array) for name, array in part.items()}
        return torch.nn.Parameter(torch.tensor(part), requires_grad=part.dtype.kind == "f")

    net, with_bias = NETWORKS["tanh"]
    told = {"start": tensors(initial(net, with_bias)), "dtype": torch.float32}
    assert certified({part: tensors(a) for part, a in recording.items()}, net, **told).ok
    assert certified(recording | {"loss": recording["loss"].tolist()}, net).ok
    with pytest.raises(ValueError, match="loss is a masked array"):
        certified(recording | {"loss": np.ma.array(recording["loss"])}, net)


# -- what rounding hides ---------------------------------------------------------------------------


class Negated(Execution):
    """The gradients of the recurrent layer with the other sign."""

    def gradients(self, w: Weights, batch: slice) -> tuple[float, Weights]:
        loss, g = super().gradients(w, batch)
        return loss, {n: a if n.startswith("dense") else -a for n, a in g.items()}


def expansive(T: int, scale: float) -> tuple[Network, Weights]:
    """Recurrent weights of this spectral radius, about: rounding grows like scale^T."""
    rng = np.random.default_rng(0)
    H = 8
    shapes = {"kernel": (3, H), "recurrent_kernel": (H, H), "bias": (H,), "dense.kernel": (H, 1),
              "dense.bias": (1,)}  # fmt: skip
    w = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    w["recurrent_kernel"] *= scale / np.sqrt(H)
    x = to_float32(rng.normal(size=(4, T, 3)))
    return Network(x=x, target=np.zeros((4, 1))), {n: to_float32(a) for n, a in w.items()}


@pytest.mark.thinned(3)
@pytest.mark.parametrize(("T", "scale"), [(40, 1.5), (80, 2.0), (160, 1.5)])
def test_an_update_that_rounding_could_have_made_otherwise_is_not_proved(
    T: int, scale: float
) -> None:
    net, w = expansive(T, scale)
    for execution in (Execution, Negated):
        found = certified(execution(net, to_float32, "keras").run(w, 3), net)
        assert (found.ok, found.judged, found.certified) == (None, 0, 0)
        assert found.ratio <= 1 and found.reason.startswith("not proved: in 3 of 3 updates")


@pytest.mark.parametrize(("T", "scale"), [(10, 1.0), (20, 1.0)])
def test_an_update_that_is_judged_is_not_the_opposite(T: int, scale: float) -> None:
    net, w = expansive(T, scale)
    honest = certified(Execution(net, to_float32, "keras").run(w, 3), net)
    assert (honest.ok, honest.judged, honest.certified) == (True, 1, 3)
    assert certified(Negated(net, to_float32, "keras").run(w, 3), net).ok is False


def test_one_update_in_ten_may_go_unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    net, with_bias = NETWORKS["tanh"]
    ran = Execution(net, to_float32, "keras").run(initial(net, with_bias), 20)
    for unjudged, ok in ((2, True), (3, None)):
        blind = np.arange(20) < unjudged
        monkeypatch.setattr(certificates_updates, "_is_blind", lambda *_, blind=blind: blind)
        found = certified(ran, net)
        assert (found.ok, found.judged, found.certified) == (ok, 1 - unjudged / 20, 20 - unjudged)
        assert f"in {unjudged} of 20 updates rounding alone" in found.reason
        assert "first in update 1: the gradient of kernel" in found.reason
        # what is not judged may still be wrong beyond what rounding does
        wrong = spoilt(ran, "m", "kernel", (1, 0, 0), lambda m: m + 1)
        assert certified(wrong, net).where == (1, "m", "kernel[0, 0]")


def test_what_overflows_is_not_judged() -> None:
    """The reference of a linear layer whose states grow to 10^400, and those of the subject."""
    net = network(x=np.ones((3, 400, 2)), activation="linear")
    w = initial(net, True)
    w["recurrent_kernel"] = 10 * np.eye(3)
    with np.errstate(all="ignore"):
        found = certified(Execution(net, to_float32, "keras").run(w, 2), net)
    assert found.ok is None and found.ratio <= 1 and found.reason.startswith("not proved")
    assert not np.isfinite(found.quantities["m"].bound[1:]).all()


def test_a_gradient_of_zero_is_judged() -> None:
    """Dead units: all that could hide is what underflow makes, and that moves nothing."""
    net = network(activation="relu")
    w = initial(net, True) | {"bias": np.full(3, -1e6)}
    ran = Execution(net, to_float32, "keras").run(w, 3)
    assert not ran["states"]["m"]["kernel"].any()
    found = certified(ran, net)
    assert (found.ok, found.judged) == (True, 1)
    wrong = spoilt(ran, "m", "kernel", (2, 0, 0), lambda _: 1e-12)
    assert certified(wrong, net).where == (2, "m", "kernel[0, 0]")


def test_a_gradient_that_moves_nothing_may_be_below_its_rounding() -> None:
    """Of saturated units: lost in 1 - h², but beside an old v no weight feels it."""
    net = network(x=np.full((3, 4, 2), 2.5))
    w = initial(net, True) | {"kernel": np.full((2, 3), 2.0)}
    ran = Execution(net, to_float32, "keras").run(w, 3)
    found = certified(ran, net)
    assert found.ok is None and "the gradient of kernel" in found.reason
    # as after a large gradient long ago: it is not what follows, but it is what is judged
    ran["states"]["v"] = recursive(np.ones_like, ran["states"]["v"])
    assert certified(ran, net).judged == 1


def test_honest_trainings_of_extreme_scales_are_no_alarm() -> None:
    """37 of the 2,592 of tools/extreme_trainings.py."""
    tally = extreme_trainings.run(every=71)
    assert not tally.alarms and tally.trainings == 37 and tally.proved > 30


def test_a_claim_that_is_not_proved_is_not_run(
    recording: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates_updates, "_is_blind", lambda *_: np.ones(3, bool))
    c = short(3)
    zeros = {
        layer: {name: np.zeros((4, *given.value.shape)) for name, given in table.items()}
        for layer, table in (ARTICLE.weights or {}).items()
    }
    start = {
        layer: {name: np.repeat(given.value[None].astype(np.float32), 4, axis=0)
                for name, given in table.items()}
        for layer, table in (ARTICLE.weights or {}).items()
    }  # fmt: skip
    made = certificates_updates.conclude

    def unproved(*args: Any) -> Any:
        return dataclasses.replace(made(*args), ok=None, reason="not proved: so it is")

    monkeypatch.setattr(certificates_updates, "conclude", unproved)
    observed = {"training": {
        "weights": start, "m": zeros, "v": zeros, "iterations": np.arange(4), "loss": np.zeros(3),
        "optimizer": {"learning_rate": 0.01, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7,
                      "amsgrad": False},
    }}  # fmt: skip
    (verdict,) = judge.judge(c, asking_request.Answer(observed))
    assert (verdict.verdict, verdict.detail) == (NOT_RUN, "not proved: so it is")


def test_a_backend_that_records_no_training_is_not_run() -> None:
    observed = {"training": {"unsupported": "training is not recorded on the numpy backend"}}
    (verdict,) = judge.judge(short(3), asking_request.Answer(observed))
    assert (verdict.verdict, verdict.detail) == (NOT_RUN, observed["training"]["unsupported"])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda r: r["weights"].pop("dense.kernel"), "the weights have no 'dense.kernel'"),
        (lambda r: r["states"]["m"].update(bias=np.zeros((26, 4))), "bias has shape (4,)"),
        (lambda r: r["weights"].update(bias=np.zeros((26, 4))), "bias has shape (26, 4)"),
        (lambda r: r["states"].pop("v"), "nothing was recorded of the optimizer's v"),
        (lambda r: r.update(loss=r["loss"][1:]), "loss does not speak of the 25 updates"),
        (lambda r: r.update(iterations=r["iterations"][1:]), "iterations does not speak"),
        (lambda r: r.update(dtype="bfloat16"), "not in bfloat16"),
        (lambda r: r.update(dtype="exact"), "not in exact"),
    ],
)
def test_what_does_not_fit_is_refused(
    recording: dict[str, Any], spoil: Callable[[dict[str, Any]], Any], words: str
) -> None:
    copy = recursive(np.copy, recording)
    spoil(copy)
    with pytest.raises(ValueError, match=re.escape(words)):
        certified(copy, NETWORKS["tanh"][0])


# -- the outcome -----------------------------------------------------------------------------------


def test_the_trainings_behind_an_outcome_are_certified() -> None:
    """Each draw's own run, in float64, by the certificate above."""
    for net, with_bias in NETWORKS.values():
        if net.batch_size or net.regularizers or net.frozen or net.mask is not None:
            continue  # of which no outcome is drawn
        rng = np.random.default_rng(5)
        start = {
            n: np.stack([a, a + rng.normal(size=a.shape)], axis=-1)
            for n, a in initial(net, with_bias, float).items()
        }
        states = list(outcomes.trainings(net, start, ADAM, 25))
        for draw in range(2):
            recorded = {
                "weights": {n: np.stack([s.weights[n][..., draw] for s in states]) for n in start},
                "states": {
                    state: {n: np.stack([s.states[n][state][..., draw] for s in states])
                            for n in start}
                    for state in ADAM.states
                },
            }  # fmt: skip
            loss = np.array([s.loss[draw] for s in states[:-1]])
            found = certified(
                {**recorded, "loss": loss, "iterations": np.arange(26)}, net, dtype="float64"
            )
            assert found.ok, found.reason


@pytest.mark.parametrize("which", ["tanh", "LSTM", "GRU"])
def test_an_outcome_is_its_last_states(which: str) -> None:
    net, _ = NETWORKS[which]
    w = initial(net, True)
    given = {n: w[n] for n in ("kernel", "recurrent_kernel", "bias")}
    options: dict[str, Any] = {"optimizer": ADAM, "draws": 5, **given}
    found = outcomes.outcomes(net, epochs=4, **options)
    assert found.loss.shape == (5,)
    assert found.predictions.shape == (5, *net.target.shape)
    once_more = outcomes.outcomes(net, epochs=5, **options)
    loss_of_predictions = [
        recurrences_losses.mean_squared_error(net.target, p)[0] for p in found.predictions
    ]
    # the mean of n squares: at most n + 1 roundings, in either order
    n = net.target.size
    assert (abs(once_more.loss - loss_of_predictions) <= 2 * (n + 1) * 2.0**-53 * once_more.loss
            ).all()  # fmt: skip
    with pytest.raises(ValueError, match="at least one epoch"):
        outcomes.outcomes(net, epochs=0, **options)


def test_dense_layers_are_drawn_as_keras_draws_them() -> None:
    """One update of 1e-300 leaves the drawn layers as they are; linear units show them."""
    H = 3
    net = Network(np.zeros((1, 1, 1)), np.zeros((1, 1)), activation="linear")
    seen = outcomes.outcomes(
        net, kernel=np.zeros((1, H)), recurrent_kernel=np.eye(H), bias=np.array([1.0, 0, 0]),
        optimizer=Adam(1e-300), epochs=1,
    )  # fmt: skip
    drawn = seen.predictions.ravel()  # the kernel's first entry
    limit = np.sqrt(6 / (H + 1))
    # up to the limit: that all D stay 1 % below it has a chance of 0.99^D = 2e-9
    assert 0.99 * limit < abs(drawn).max() <= limit
    # uniform: Kolmogorov's distance of D numbers exceeds sqrt(ln(2/p)/(2D)) with chance p at most
    D = len(drawn)
    assert D == outcomes.DRAWS
    steps = np.arange(D + 1) / D
    uniform = (np.sort(drawn) + limit) / (2 * limit)
    distance = max(abs(uniform - steps[1:]).max(), abs(uniform - steps[:-1]).max())
    assert distance <= np.sqrt(np.log(2 / 1e-6) / (2 * D))


def test_a_place_is_called_extraordinary_as_often_as_is_said() -> None:
    """All D+1 places of one number among D others, counted."""
    for D, false_alarm in ((19, 0.1), (19, 0.2), (39, 0.1), (1999, 0.001)):
        numbers = np.arange(D + 1.0)
        wrong = sum(
            not outcomes.place(np.delete(numbers, i), x, x, false_alarm).ordinary
            for i, x in enumerate(numbers)
        )
        assert 0 < wrong / (D + 1) <= false_alarm


def test_a_printed_interval_is_ordinary_where_it_reaches() -> None:
    drawn = np.arange(100.0)
    assert outcomes.place(drawn, -5.0, 0.0, 0.05).low == 1.0
    assert not outcomes.place(drawn, -5.0, 0.9, 0.05).ordinary
    assert outcomes.place(drawn, -5.0, 1.0, 0.05).ordinary
    assert outcomes.place(drawn, 98.0, 200.0, 0.05).ordinary
    assert not outcomes.place(drawn, 98.1, 200.0, 0.05).ordinary
    assert outcomes.place(drawn, 24.5, 25.5, 0.05).percentile == 25


@pytest.mark.parametrize("drawn", [np.arange(1998.0), np.append(np.arange(1999.0), np.nan)])
def test_too_few_draws_say_nothing(drawn: Array) -> None:
    with pytest.raises(ValueError, match=r"do not support a false alarm of 0\.001"):
        outcomes.place(drawn, 0.0, 0.0)


@pytest.fixture(scope="module")
def drawn() -> outcomes.Outcomes:
    """The article's outcome, 2,000 times."""
    return training.draw(ARTICLE)


@long
def test_the_article_note_is_confirmed(drawn: outcomes.Outcomes) -> None:
    """An independent run of 2,000 draws had median 0.0034, and 0.0070 near the 81st percentile.

    Two such fractions differ with a standard deviation of at most sqrt(2 p (1-p) / 2000); three of
    them are allowed, and half a unit of the last digit noted.
    """
    for value, half, p in ((0.0034, 5e-5, 0.50), (0.0070, 5e-5, 0.81)):
        margin = 3 * np.sqrt(2 * p * (1 - p) / 2000) + 0.005
        assert np.mean(drawn.loss < value - half) <= p + margin
        assert np.mean(drawn.loss < value + half) >= p - margin


def outcome_verdicts(
    text: str, drawn: outcomes.Outcomes, monkeypatch: pytest.MonkeyPatch
) -> list[judge.Verdict]:
    monkeypatch.setattr(outcomes, "outcomes", lambda *_, **__: drawn)
    c = files.loads(text, FILE)
    return judge.judge(
        dataclasses.replace(c, expectations=c.expectations[1:]), asking_request.Answer({})
    )


def test_an_outcome_among_the_draws_agrees_and_one_apart_differs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the article's training after three epochs, which takes no time."""
    text = re.sub(r"epochs += 2000", "epochs = 3", FILE.read_text("utf-8"))
    few = training.draw(files.loads(text, FILE))
    middle = np.median(few.predictions, axis=0).round(4).tolist()
    usual = text.replace("[[10.000422], [19.999924], [29.85534]]", str(middle))
    for loss, kind in ((np.median(few.loss), AGREE), (2 * few.loss.max(), DIFFER)):
        printed = usual.replace("0.0070", f"{loss:.4f}")
        found = outcome_verdicts(printed, few, monkeypatch)
        assert [verdict.verdict for verdict in found] == [kind, AGREE]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('kind  = "Dense"', 'kind  = "Dense"\nactivation = "softmax"', "with softmax"),
        ("learning_rate = 0.01", "learning_rate = 1e200", "random Dense weights overflow"),
    ],
)
def test_an_outcome_that_cannot_be_drawn_is_not_judged(old: str, new: str, words: str) -> None:
    text = re.sub(r"epochs +=", "epochs =", FILE.read_text("utf-8")).replace("= 2000", "= 3")
    assert old in text
    c = files.loads(text.replace(old, new), FILE)
    of_outcomes = tuple(e for e in c.expectations if e.what == "ordinary_outcome")
    judged = dataclasses.replace(c, expectations=of_outcomes)
    found = judge.judge(judged, asking_request.Answer({}))
    assert [verdict.verdict for verdict in found] == [NOT_RUN] * 2
    assert all(words in verdict.detail for verdict in found)


@long
def test_the_article_ended_as_usual(
    drawn: outcomes.Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, predictions = outcome_verdicts(FILE.read_text("utf-8"), drawn, monkeypatch)
    assert (loss.verdict, predictions.verdict) == (AGREE, AGREE)
    assert re.fullmatch(r"an ordinary outcome: percentile \d\d of 2,000 draws", loss.detail)
    assert re.search(r": percentile \d+, \d+, \d+ of 2,000 draws", predictions.detail)


@long
@pytest.mark.parametrize(
    ("old", "new", "which"),
    [
        ("0.0070", "0.0001", 0),
        ("0.0070", "7.0", 0),
        ("29.85534", "25.85534", 1),
        ("10.000422", "12.000422", 1),
    ],
)
def test_an_extraordinary_outcome_differs(
    drawn: outcomes.Outcomes, monkeypatch: pytest.MonkeyPatch, old: str, new: str, which: int
) -> None:
    text = FILE.read_text("utf-8")
    assert text.count(old) == 1
    verdicts = outcome_verdicts(text.replace(old, new), drawn, monkeypatch)
    assert verdicts[which].verdict == DIFFER
    assert f"claimed {float(new):.9g}" in verdicts[which].detail
    assert verdicts[1 - which].verdict == AGREE


# -- the claim file --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("learning_rate = 0.01", "learning_rate = 0.0", "training.learning_rate", "positive"),
        ("learning_rate = 0.01", "learning_rate = nan", "training.learning_rate", "positive"),
        ("epochs        = 2000", "epochs = 0", "training.epochs", "positive"),
        ('optimizer     = "Adam"', 'optimizer = "Lion"', "training.optimizer", "Adam, AdamW"),
        ("epochs ", "rho = 0.9\nepochs ", "training.rho", "unknown key"),
        ("epochs ", "beta_1 = 1\nepochs ", "training.beta_1", "less than 1"),
        ("epochs ", "epsilon = 0\nepochs ", "training.epsilon", "positive"),
        ("epochs ", "batch_size = 0\nepochs ", "training.batch_size", "positive"),
        ("epochs ", "clipnorm = 1\nclipvalue = 1\nepochs ", "training.clipvalue", "one of clip"),
        ('kind   = "mse"', 'kind = "categorical_crossentropy"', "expect[0].what", "mse"),
        ('of    = "loss"', "", "expect[1].of", "required: one of loss, predictions"),
        ('of    = "loss"', 'of = "los"', "expect[1].of", "did you mean `loss`"),
        ("value = true", "value = false", "expect[0].value", "expected true"),
        ("value = 0.0070", "value = [0.0070]", "expect[1].value", "expected shape ()"),
        ("[[10.000422], ", "[", "expect[2].value", "expected shape (3, 1), got (2, 1)"),
        ("units = 4", "units = 4\nreturn_sequences = true", "loss.target", "shape"),
        ("[input]\n", "[input]\nmask = [[true, true, true], [true, true, true], [true, true, true]]"
         "\n", "expect[0].what", "without initial_state and mask"),
        ("epochs ", "sample_weight = [1, 2]\nepochs ", "training.sample_weight", "shape (3,)"),
        ("epochs ", "sample_weight = [1, -2, 1]\nepochs ", "training.sample_weight", "0 or more"),
        ("epochs ", "class_weight = {}\nepochs ", "training.class_weight", "a class at least"),
        ("epochs ", "class_weight = { 0 = -1 }\nepochs ", "training.class_weight.0", "0 or more"),
        ("epochs ", "class_weight = { a = 1 }\nepochs ", "training.class_weight.a", "0, 1, 2"),
        ("epochs ", "class_weight = { 0 = 2 }\nsample_weight = [1, 2, 3]\nepochs ",
         "training.class_weight", "as Keras does"),
    ],
)  # fmt: skip
def test_each_mistake_is_named(old: str, new: str, key: str, words: str) -> None:
    text = FILE.read_text("utf-8")
    assert old in text
    with pytest.raises(ClaimError) as caught:
        files.loads(text.replace(old, new, 1), FILE)
    assert caught.value.key == key
    assert words in caught.value.problem


def test_a_training_claim_needs_a_training() -> None:
    text = FILE.read_text("utf-8")
    start, end = text.index("[training]"), text.index("[reading]")
    with pytest.raises(ClaimError, match="updates needs training"):
        files.loads(text[:start] + text[end:], FILE)
