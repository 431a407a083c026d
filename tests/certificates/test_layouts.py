"""Do arrays of other frameworks mean what they do there?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnn_check import certify, certify_gradients
from rnn_check.certificates.layouts import LAYOUTS
from rnn_check.recurrences import gated
from rnn_check.recurrences.kinds import recurrence as known

B, T, F, H = 2, 5, 3, 4
GATES = {"simple": 1, "lstm": 4, "gru": 3}


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def torch_or_onnx(recurrence: str, onnx: bool, reset_after: bool = True) -> dict[str, Any]:
    """A recurrence as the documents of torch and ONNX write it, in float32, time-major."""
    rng = np.random.default_rng(3)
    G = GATES[recurrence]

    def drawn(*shape: int) -> Any:
        return rng.normal(size=shape).astype(np.float32)

    x, W, R, wb, rb = drawn(T, B, F), drawn(G * H, F), drawn(G * H, H), drawn(G * H), drawn(G * H)
    h, c = drawn(B, H), drawn(B, H)
    start: Any = (h, c) if recurrence == "lstm" else h
    states, cells = [], []
    for x_t in x:
        i = np.split(x_t @ W.T + wb, G, axis=-1)
        r = np.split(h @ R.T + rb, G, axis=-1)
        if recurrence == "simple":
            h = np.tanh(i[0] + r[0])
        elif recurrence == "lstm":
            a = [sum(pair) for pair in zip(i, r, strict=True)]
            at = (0, 2, 3, 1) if onnx else (0, 1, 2, 3)  # i o f c, or i f g o
            gates = [a[k] for k in at]
            c = sigmoid(gates[1]) * c + sigmoid(gates[0]) * np.tanh(gates[2])
            h = sigmoid(gates[3]) * np.tanh(c)
        else:
            z, reset = (0, 1) if onnx else (1, 0)
            update, forget = sigmoid(i[z] + r[z]), sigmoid(i[reset] + r[reset])
            recurrent = forget * r[2]
            if not reset_after:
                recurrent = (forget * h) @ R[2 * H :].T + rb[2 * H :]
            h = (1 - update) * np.tanh(i[2] + recurrent) + update * h
        states.append(h)
        cells.append(c)
    said: dict[str, Any] = {
        "states": np.stack(states), "x": x, "kernel": W, "recurrent_kernel": R, "bias": (wb, rb),
        "initial_state": start, "recurrence": recurrence, "layout": "torch",
    }  # fmt: skip
    if recurrence == "lstm":
        said["cell_states"] = np.stack(cells)
    if onnx:
        said["states"] = said["states"][:, None]
        said |= {"kernel": W[None], "recurrent_kernel": R[None], "layout": "onnx"}
        said["bias"] = np.concatenate([wb, rb])[None]
    return said | ({"reset_after": False} if not reset_after else {})


CASES = [
    *((name, onnx, True) for name in GATES for onnx in (False, True)),
    ("gru", True, False),
]


@pytest.mark.parametrize(("recurrence", "onnx", "reset_after"), CASES)
def test_what_they_compute_is_certified(recurrence: str, onnx: bool, reset_after: bool) -> None:
    said = torch_or_onnx(recurrence, onnx, reset_after)
    found = certify(**said)
    assert found.ok and found.ratio < 1, found.reason
    if recurrence == "lstm":  # c_n, or Y_c
        last = said["cell_states"][-1:]
        assert certify(**{**said, "cell_states": last}).ok
        assert not certify(**{**said, "cell_states": last * np.float32(1.001)}).ok
    if not onnx:
        batch_first = {"x": said["x"].swapaxes(0, 1), "states": said["states"].swapaxes(0, 1)}
        if recurrence == "lstm":
            batch_first["cell_states"] = said["cell_states"][-1:]
        assert certify(**{**said, **batch_first, "layout": "torch_batch_first"}).ok


@pytest.mark.thinned(4)
@pytest.mark.parametrize(("recurrence", "onnx", "reset_after"), CASES)
def test_another_order_of_gates_or_one_bias_is_another_layer(
    recurrence: str, onnx: bool, reset_after: bool
) -> None:
    said = torch_or_onnx(recurrence, onnx, reset_after)
    if recurrence != "simple":
        parts = np.split(said["kernel"], GATES[recurrence], axis=-2)
        turned = np.concatenate(parts[::-1], axis=-2)
        assert certify(**{**said, "kernel": turned}).ok is False
    one, other = np.split(np.ravel(said["bias"]), 2) if onnx else said["bias"]
    for pair in ((one, 0 * other), (0 * one, other), (one, one)):
        bias = np.concatenate(pair)[None] if onnx else pair
        assert certify(**{**said, "bias": bias}).ok is False
    wrong = said["recurrent_kernel"].copy()
    wrong[..., 0, 0] *= np.float32(1.001)
    assert certify(**{**said, "recurrent_kernel": wrong}).ok is False


def test_torch_agrees() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    for kind, recurrence in ((torch.nn.LSTM, "lstm"), (torch.nn.GRU, "gru"),
                             (torch.nn.RNN, "simple")):  # fmt: skip
        layer, x = kind(F, H), torch.randn(T, B, F)
        states, last = layer(x)
        given = {
            "x": x, "kernel": layer.weight_ih_l0, "recurrent_kernel": layer.weight_hh_l0,
            "bias": (layer.bias_ih_l0, layer.bias_hh_l0), "recurrence": recurrence,
        }  # fmt: skip
        if recurrence == "lstm":
            given["cell_states"] = last[1]
        assert certify(states, **given, layout="torch").ok


def test_time_major_arrays_have_keras_weights() -> None:
    rng = np.random.default_rng(0)
    x, W, U = rng.normal(size=(T, B, F)), rng.normal(size=(F, H)), rng.normal(size=(H, H))
    h, states, mask = np.zeros((B, H)), [], np.ones((T, B), bool)
    mask[3:, 1] = False
    for t in range(T):
        h = np.where(mask[t][:, None], np.tanh(x[t] @ W + h @ U), h)
        states.append(h)
    given = {"x": x, "kernel": W, "recurrent_kernel": U, "mask": mask, "layout": "time_major"}
    assert certify(np.stack(states), **given).ok
    states[2] = states[2] * (1 + 1e-9)
    found = certify(np.stack(states), **given)
    assert found.ok is False and found.first[1] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": "pytorch"}, "layout is 'pytorch', but should be one of keras, time_major"),
        ({"kernel": np.ones((7, F))}, r"kernel has shape \(7, 3\), but should have 4 gates"),
        ({"kernel": np.ones((2, 16, F))}, "certify one direction at a time"),
        ({"bias": np.ones(15)}, "bias has shape"),
        ({"x": np.ones((T, B))}, "x has shape"),
    ],
)
def test_what_does_not_fit_is_said(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        certify(**torch_or_onnx("lstm", onnx=False) | changes)


def test_a_gru_of_torch_has_two_biases() -> None:
    said = torch_or_onnx("gru", onnx=False)
    with pytest.raises(ValueError, match="bias should hold two arrays"):
        certify(**{**said, "bias": said["bias"][0]})
    with pytest.raises(ValueError, match="has reset_after=True"):
        certify(**{**said, "reset_after": False})


def test_every_layout_is_tried() -> None:
    assert set(LAYOUTS) == {"keras", "time_major", "torch", "torch_batch_first", "onnx"}


# --- gradients ------------------------------------------------------------------------------------


def torch_gradients(recurrence: str, batch_first: bool) -> dict[str, Any]:
    """What torch's own layer gives: δ is the gradient of GH features more, 0 in x and 1 in a gate's
    row of weight_ih."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(2)
    kind = {"simple": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[recurrence]
    layer = kind(F, H, batch_first=batch_first)
    probed = kind(F + GATES[recurrence] * H, H, batch_first=batch_first)
    with torch.no_grad():
        for name, weight in layer.named_parameters():
            if name == "weight_ih_l0":
                weight = torch.cat([weight, torch.eye(GATES[recurrence] * H)], 1)
            getattr(probed, name).copy_(weight)
    shape = (B, T) if batch_first else (T, B)
    x = torch.randn(*shape, F)
    wide = torch.cat([x, torch.zeros(*shape, GATES[recurrence] * H)], 2).requires_grad_()
    start = [torch.randn(1, B, H, requires_grad=True) for _ in range(1 + (recurrence == "lstm"))]
    states, last = probed(wide, tuple(start) if recurrence == "lstm" else start[0])
    cotangent = torch.randn(*states.shape)
    (states * cotangent).sum().backward()
    observed = {
        "delta": wide.grad[..., F:], "x": wide.grad[..., :F],
        "kernel": probed.weight_ih_l0.grad[:, :F], "recurrent_kernel": probed.weight_hh_l0.grad,
        "bias": (probed.bias_ih_l0.grad, probed.bias_hh_l0.grad),
        "initial_state": tuple(s.grad for s in start) if len(start) > 1 else start[0].grad,
    }  # fmt: skip
    given: dict[str, Any] = {
        "cotangent": cotangent, "states": states, "x": x, "kernel": layer.weight_ih_l0,
        "recurrent_kernel": layer.weight_hh_l0, "bias": (layer.bias_ih_l0, layer.bias_hh_l0),
        "initial_state": tuple(start) if len(start) > 1 else start[0], "recurrence": recurrence,
        "layout": "torch_batch_first" if batch_first else "torch",
    }  # fmt: skip
    if recurrence == "lstm":
        given["cell_states"] = last[1]
    return {"observed": observed, **given}


@pytest.mark.parametrize("recurrence", GATES)
@pytest.mark.parametrize("batch_first", [False, True])
def test_the_gradients_of_torch_are_certified_as_they_stand(
    recurrence: str, batch_first: bool
) -> None:
    given = torch_gradients(recurrence, batch_first)
    observed = given.pop("observed")
    found = certify_gradients(observed, **given)
    assert all(each.ok for each in found.values()), {n: c.reason for n, c in found.items()}
    second = set() if recurrence == "gru" else {"second_bias"}
    of_cell = {"initial_cell_state"} if recurrence == "lstm" else set()
    assert found.keys() == set(observed) | second | of_cell
    # each number that is another, of the array where it stands, is seen there
    for name in ("x", "kernel", "recurrent_kernel"):
        wrong = observed[name].clone()
        wrong.view(-1)[1] += 0.01
        assert certify_gradients({**observed, name: wrong}, **given)[name].ok is False
    one, other = observed["bias"]
    spoilt = certify_gradients({**observed, "bias": (one, other + 0.01)}, **given)
    assert spoilt["bias" if recurrence == "gru" else "second_bias"].ok is False
    if recurrence != "simple":
        parts = observed["kernel"].split(H)
        turned = np.concatenate([parts[1], parts[0], *parts[2:]])
        assert certify_gradients({**observed, "kernel": turned}, **given)["kernel"].ok is False


def test_gradients_of_time_major_and_of_onnx_arrays_are_certified_as_they_stand() -> None:
    """The same numbers as torch's, put where ONNX and Keras's time_major have them."""
    given = torch_gradients("simple", batch_first=False)
    observed = given.pop("observed")

    def numpy(tensor: Any) -> Any:
        return tensor.detach().numpy()

    W, U, b, c = (given[n] for n in ("kernel", "recurrent_kernel", "bias", "initial_state"))
    onnx = {
        **given, "layout": "onnx", "kernel": numpy(W)[None], "recurrent_kernel": numpy(U)[None],
        "bias": np.concatenate([numpy(part) for part in b])[None], "initial_state": numpy(c),
        "states": numpy(given["states"])[:, None], "cotangent": numpy(given["cotangent"])[:, None],
    }  # fmt: skip
    of_onnx = {
        **observed, "kernel": observed["kernel"][None],
        "recurrent_kernel": observed["recurrent_kernel"][None],
        "bias": np.concatenate([numpy(part) for part in observed["bias"]])[None],
    }  # fmt: skip
    found = certify_gradients(of_onnx, **onnx)
    assert all(each.ok for each in found.values()) and "second_bias" in found
    of_onnx["delta"] = numpy(observed["delta"])[::-1]
    assert certify_gradients(of_onnx, **onnx)["delta"].ok is False
    keras = {
        **given, "layout": "time_major", "kernel": numpy(W).T, "recurrent_kernel": numpy(U).T,
        "bias": sum(map(numpy, b)), "initial_state": numpy(c)[0],
    }  # fmt: skip
    of_keras = {
        **observed, "kernel": numpy(observed["kernel"]).T, "bias": observed["bias"][0],
        "recurrent_kernel": numpy(observed["recurrent_kernel"]).T,
        "initial_state": numpy(observed["initial_state"])[0],
    }  # fmt: skip
    found = certify_gradients(of_keras, **keras)
    assert found.keys() == observed.keys() and found["kernel"].ok and found["x"].ok


# --- numbers known to some digits -----------------------------------------------------------------


def printed(recurrence: str, decimals: int, **more: Any) -> tuple[dict[str, Any], dict[str, int]]:
    """What somebody prints of a layer with more digits than that."""
    said = torch_or_onnx(recurrence, onnx=False)
    for name in ("kernel", "recurrent_kernel"):
        said[name] = np.round(said[name].astype(np.float64), decimals)
    said["bias"] = tuple(np.round(np.float64(part), decimals) for part in said["bias"])
    for name in ("states", "cell_states"):
        if name in said:
            said[name] = np.round(said[name].astype(np.float64), decimals + 2)
    reading = {"weights": decimals, "states": decimals + 2}
    if recurrence == "lstm" and more.get("hidden"):
        del said["cell_states"]
    elif recurrence == "lstm":
        reading["cell_states"] = decimals + 2
    return said | {"dtype": "float32"}, reading


@pytest.mark.thinned(2)
@pytest.mark.parametrize("recurrence", GATES)
@pytest.mark.parametrize("decimals", [3, 5])
def test_printed_numbers_belong_together(recurrence: str, decimals: int) -> None:
    for hidden in (False, True):
        said, reading = printed(recurrence, decimals, hidden=hidden)
        found = certify(**said, reading=reading)
        assert found.ok, found.reason
        assert "how its sums were made is not asked" in found.reason
        assert certify(**said).ok is False  # taken for exact
        wrong = said["kernel"].copy()
        wrong[0, 0] += 100 * 10.0**-decimals
        assert certify(**{**said, "kernel": wrong}, reading=reading).ok is False
        states = said["states"].copy()
        states[2, 1, 0] += 0.01 if decimals > 3 else 0.1
        assert certify(**{**said, "states": states}, reading=reading).ok is False


@pytest.mark.parametrize("seed", range(20))
def test_no_honest_layer_is_accused_of_what_was_rounded(seed: int) -> None:
    rng = np.random.default_rng(seed)
    d = int(rng.integers(1, 6))
    x, W, U, b, h = (rng.normal(size=shape) for shape in ((B, T, F), (F, H), (H, H), H, (B, H)))
    start, states = h, []
    for t in range(T):
        h = np.tanh(x[:, t] @ W + h @ U + b)
        states.append(h)
    said = {"x": x, "kernel": W, "recurrent_kernel": U, "bias": b, "initial_state": start}
    given = {name: np.round(array, d) for name, array in said.items()}
    reading = dict.fromkeys(["weights", "x", "states", "initial_state"], d)
    found = certify(np.round(np.stack(states, 1), d), **given, reading=reading)
    assert found.ok is not False, found.reason


def test_the_rounded_weights_of_a_handover() -> None:
    """Weights with 4 decimals, outputs with 8: the sum of two biases, or one of them twice."""
    w_ih = [[0.3643, -0.3121, -0.1371, 0.3319, -0.6657], [0.4241, -0.1455, 0.3597, 0.0983, -0.0866]]
    w_hh, b_ih, b_hh = [[0.1961, 0.0349], [0.2583, -0.2756]], [-0.0516, -0.0637], [0.1025, -0.0028]
    stated = [[-0.3519801, 0.52525216], [-0.68424344, 0.76074266], [-0.8649416, 0.90466356]]
    given: dict[str, Any] = {
        "x": [[[k] * 5 for k in (1.0, 2.0, 3.0)]], "kernel": w_ih, "recurrent_kernel": w_hh,
        "layout": "torch_batch_first", "dtype": "float32", "reading": {"weights": 4, "states": 8},
    }  # fmt: skip
    assert certify([stated], bias=(b_ih, b_hh), **given).ok
    twice = certify([stated], bias=(b_hh, b_hh), **given)
    assert twice.ok is False and (twice.wrong, twice.first) == (6, (0, 0, 0))
    del given["reading"]
    assert certify([stated], bias=(b_ih, b_hh), **given).ok is False


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"kernels": 3}, "reading has 'kernels', but should have some of weights, x, kernel"),
        ({"weights": 3, "bias": 2}, "reading has \"weights\" and 'bias', which is one of them"),
        ({"states": 0.5}, "should be to how many decimals it is known"),
        ({"states": True}, "should be to how many decimals it is known"),
        ({"x": 99}, "should be to how many decimals it is known"),
    ],
)
def test_a_reading_that_is_none_is_refused(reading: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        certify(**torch_or_onnx("simple", onnx=False), reading=reading)


@pytest.mark.parametrize("recurrence", GATES)
@pytest.mark.parametrize("decimals", [3, 5])
def test_printed_gradients_belong_together(recurrence: str, decimals: int) -> None:
    given = torch_gradients(recurrence, batch_first=True)
    observed = given.pop("observed")
    del observed["delta"]

    def printed(node: Any) -> Any:
        if isinstance(node, tuple):
            return tuple(map(printed, node))
        return np.round(node.detach().double().numpy(), decimals)

    names = ("states", "x", "kernel", "recurrent_kernel", "bias", "initial_state", "cotangent")
    told = {**given, **{name: printed(given[name]) for name in names}, "dtype": "float32"}
    told.pop("cell_states", None)
    reading = dict.fromkeys(
        ["weights", "x", "states", "initial_state", "cotangent", "observed"], decimals
    )
    seen = {name: printed(array) for name, array in observed.items()}
    found = certify_gradients(seen, **told, reading=reading)
    assert all(each.ok for each in found.values()), {n: c.reason for n, c in found.items()}
    for name in ("x", "kernel", "recurrent_kernel"):
        wrong = seen[name].copy()
        wrong.flat[1] += 1.0 if decimals == 3 else 0.05
        spoilt = certify_gradients({**seen, name: wrong}, **told, reading=reading)
        assert {n for n, c in spoilt.items() if c.ok is False} == {name}
    with pytest.raises(ValueError, match="observed has no 'delta'"):
        certify_gradients(seen, **told)  # taken for exact
    with pytest.raises(ValueError, match="reading has 'loss', but should have some of weights"):
        certify_gradients(seen, **told, reading={"loss": 3})


@pytest.mark.parametrize("seed", range(12))
def test_no_honest_gradients_are_accused_of_what_was_rounded(seed: int) -> None:
    rng = np.random.default_rng(seed)
    name, d = list(GATES)[seed % 3], int(rng.integers(2, 6))
    r, G = known(name), GATES[name]
    shapes = {"x": (B, T, F), "kernel": (F, G * H), "recurrent_kernel": (H, G * H)}
    shapes["bias"] = r.bias_shape(H)
    exact = {n: rng.normal(size=shape) for n, shape in shapes.items()}
    mask = np.concatenate([np.ones((B, 1), bool), rng.random((B, T - 1)) < 0.7], axis=1)
    run = gated.forward(r, *exact.values(), mask=mask, go_backwards=False)
    cotangent = rng.normal(size=(B, T, H))
    made = gated.backward({"h": cotangent}, run)
    told = {n: np.round(a, d) for n, a in {**exact, "states": run.states["h"]}.items()}
    if name == "lstm":
        told["cell_states"] = np.round(run.states["c"], d)
    observed = {n: np.round(getattr(made, n), d) for n in (*shapes, "delta")}
    reading = dict.fromkeys(["weights", "x", "states", "cotangent", "observed"], d)
    reading |= {"cell_states": d} if name == "lstm" else {}
    asked = {"cotangent": np.round(cotangent, d), "mask": mask, "recurrence": name, **told}
    found = certify_gradients(observed, **asked, reading=reading)
    assert all(each.ok is not False for each in found.values()), found


def test_the_last_cell_states_alone_are_not_read_to_digits() -> None:
    said = torch_or_onnx("lstm", onnx=False)
    said["cell_states"] = said["cell_states"][-1:]
    with pytest.raises(ValueError, match="those of all steps, or none"):
        certify(**said, reading={"weights": 4})


# --- which is wrong -------------------------------------------------------------------------------


def test_the_first_that_is_wrong_in_time_stands_beside_the_worst() -> None:
    said = torch_or_onnx("simple", onnx=False)
    states = said["states"].copy()
    states[1, 1, 2] += np.float32(1e-4)  # at step 1 of sample 1
    states[4, 0, 0] += np.float32(0.5)
    found = certify(**{**said, "states": states})
    assert found.where == (0, 4, 0) and found.first == (1, 1, 2)
    assert found.wrong >= 2
    assert f"{found.wrong} are beyond their bound, the first in time is (1, 1, 2)" in found.reason
    honest = certify(**said)
    assert (honest.wrong, honest.first) == (0, ())


def test_of_adjoints_it_is_the_last_from_which_the_others_come() -> None:
    rng = np.random.default_rng(2)
    x, W, U = rng.normal(size=(B, T, F)), rng.normal(size=(F, H)), rng.normal(size=(H, H))
    h, states = np.zeros((B, H)), []
    for t in range(T):
        h = np.tanh(x[:, t] @ W + h @ U)
        states.append(h)
    cotangent, later, deltas = rng.normal(size=(B, T, H)), np.zeros((B, H)), []
    for t in reversed(range(T)):
        delta = (cotangent[:, t] + later) * (1 - states[t] ** 2)
        if t == 3:
            delta = delta * (1 + 1e-6)  # and all before it follow from that
        later = delta @ U.T
        deltas.insert(0, delta)
    delta = np.stack(deltas, 1)
    delta[1, 1, 2] += 1e-3
    found = certify_gradients(
        {"delta": delta}, cotangent=cotangent, states=np.stack(states, 1), x=x, kernel=W,
        recurrent_kernel=U,
    )["delta"]  # fmt: skip
    assert found.where[:2] in ((1, 1), (1, 0)) and found.first[1] == 3
    assert "the last in time is (" in found.reason
