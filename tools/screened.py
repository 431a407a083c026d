"""Does a certificate that looks closely at few elements say what it would if it looked at all?

    python -m tools.screened              # 40,500 certificates, an hour
    python -m tools.screened --gates      # of LSTM and GRU

Random layers of all scales, each with faults near the bound at one element. The verdict, the
largest ratio and its place, and the shares judged and blind have to be those of the whole arrays,
which are computed in full. Exits with 1 if one is not. Of gates, whose full arrays are computed in
the same way, all that a certificate says has to be what it says without a screen.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np

from rnn_check import certify
from rnn_check.certificates.gated_screen import GruScreen
from rnn_check.certificates.lstm_screen import LstmScreen
from rnn_check.certificates.result import Certificate
from rnn_check.certificates.seen_screen import SeenScreen
from rnn_check.recurrences import gated
from rnn_check.recurrences.kinds import recurrence

Array = np.typing.NDArray[Any]
KINDS = ("ordinary", "saturating", "rows", "columns", "tiny", "huge", "one-hot", "dead features")
FACTORS = (0.3, 0.9, 1.002, 1.05, 3.0)  # of the bound
PER_LAYER = 6


def layers(seed: int, wide: float = 0.4) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kind and arguments of one layer after the other; a share of them wide."""
    rng = np.random.default_rng(seed)
    while True:
        F, H = (int(n) for n in (rng.integers(1, 80), rng.integers(4, 96)))
        if rng.uniform() < wide:
            F, H = (int(rng.choice(n)) for n in ((256, 384, 500), (256, 260, 300)))
        T = int(rng.integers(2, 12))
        B = max(1, -(-6000 // (T * H)))
        activation, kind = str(rng.choice(["tanh", "linear"])), str(rng.choice(KINDS))
        x, W = rng.normal(size=(B, T, F)), rng.normal(size=(F, H)) / F**0.5
        U, b = rng.normal(size=(H, H)) / H**0.5, rng.normal(size=H)
        if activation == "linear":
            U *= 0.5
        if kind == "saturating":
            W *= 4
        if kind == "rows":
            x *= 2.0 ** rng.integers(-12, 6, size=(B, T, 1))
        if kind == "columns":
            W *= 2.0 ** rng.integers(-12, 6, size=H)
        if kind == "tiny":
            x, W, U, b = x * 1e-16, W * 1e-16, U * 1e-3, b * 1e-30
        if kind == "huge":
            x, b = x * (1e12 if activation == "linear" else 1e5), b * 1e5
        if kind == "one-hot":
            x = np.eye(F)[rng.integers(0, F, (B, T))]
        if kind == "dead features":
            x[..., : F // 2] = 0
            W[: F // 2] *= 1e6
        parts = {"x": x, "kernel": W, "recurrent_kernel": U, "bias": b}
        given: dict[str, Any] = {name: part.astype(np.float32) for name, part in parts.items()}
        yield kind, given | {"activation": activation}


def states(x: Array, kernel: Array, recurrent_kernel: Array, bias: Array, activation: str) -> Array:
    h, found = np.zeros((len(x), len(bias)), np.float32), []
    for t in range(x.shape[1]):
        z = x[:, t] @ kernel + bias + h @ recurrent_kernel
        h = np.tanh(z) if activation == "tanh" else z
        found.append(h)
    return np.stack(found, axis=1)


def difference(found: Certificate, activation: str) -> str:
    """What a certificate says that its whole arrays do not, "" if nothing."""
    with np.errstate(all="ignore"):
        ratios = found.residual / found.bound
    ratios = np.where((found.residual == 0) | (found.bound == np.inf), 0.0, ratios)
    expected, bound = found.expected, found.bound
    if activation == "tanh":
        judged, blind = (bound < 1 + np.abs(expected)) | (bound == 0), bound > 0.02
    else:  # the largest power of two that is no larger than some number expected
        most = 2.0 ** (np.frexp(np.abs(expected).max())[1] - 1)
        judged, blind = bound < most, bound > np.abs(expected) / 100
    wanted = {
        "ratio": ratios.max(), "judged": judged.mean(), "blind": blind.mean(),
        "ratio there": ratios[found.where],
    }  # fmt: skip
    got = {
        "ratio": found.ratio, "judged": found.judged, "blind": found.blind,
        "ratio there": found.ratio,
    }  # fmt: skip
    # up to the order of sums in float64, which may move single elements over an edge
    near = {"judged": 2 / bound.size, "blind": 2 / bound.size}
    for name, value in wanted.items():
        if not np.isclose(got[name], value, rtol=1e-6, atol=near.get(name, 0.0)):
            return f"{name} {got[name]:.9g}, but {value:.9g} in full"
    if ratios.max() > 1 and found.ok is not False:
        return f"ok {found.ok}, but a ratio of {ratios.max():.9g}"
    return ""


def attack(given: dict[str, Any], rng: np.random.Generator) -> Iterator[str]:
    """The difference of the honest certificate, and of those of some faults."""
    with np.errstate(all="ignore"):
        right = states(**given)
    if not np.isfinite(right).all():
        return
    honest = certify(right, **given)
    yield difference(honest, given["activation"])
    for _ in range(PER_LAYER):
        wrong = right.copy()
        at = tuple(int(rng.integers(n)) for n in right.shape)
        factor = rng.choice(FACTORS) * rng.choice([-1, 1])
        wrong[at] = np.float32(honest.expected[at] + factor * honest.bound[at])
        yield difference(certify(wrong, **given), given["activation"])


def gated_layers(seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same with gates, either kind of them and of resets."""
    for n, (kind, given) in enumerate(layers(seed, wide=0.2)):
        rng = np.random.default_rng([seed, n])
        name, after = str(rng.choice(["lstm", "gru"])), bool(rng.integers(2))
        r, H = recurrence(name, after), len(given["bias"])
        del given["activation"]
        F, size = len(given["kernel"]), np.abs(given["kernel"]).max() or 1.0
        shapes = {"kernel": (F, H), "recurrent_kernel": (H, H), "bias": (H,)}
        for part, shape in shapes.items():
            more = [given[part]]
            scale = float(np.sqrt(np.square(given[part]).mean())) or size
            more += [(scale * rng.normal(size=shape)).astype(np.float32) for _ in r.gates[1:]]
            given[part] = np.concatenate(more, axis=-1)
        if r.biases > 1:
            given["bias"] = np.stack([given["bias"], rng.permutation(given["bias"])])
        if rng.uniform() < 0.3:  # one long sequence
            given["x"] = given["x"].reshape(1, -1, F)
        if rng.uniform() < 0.1:  # sums that need no rounding
            kind = "dyadic"
            for part in ("x", *shapes):
                given[part] = np.round(given[part] * 4) / 4
        if rng.uniform() < 0.3:
            starts = tuple(
                rng.uniform(-1, 1, (len(given["x"]), H)).astype(np.float32) for _ in r.states
            )
            given["initial_state"] = starts if len(starts) > 1 else starts[0]
        yield f"{kind}, {name}", given | {"recurrence": name, "reset_after": after}


def certified_in_full(states: Array, given: dict[str, Any]) -> Certificate:
    with (
        mock.patch.object(GruScreen, "of", return_value=None),
        mock.patch.object(LstmScreen, "of", return_value=None),
        mock.patch.object(SeenScreen, "of", return_value=None),
    ):
        return certify(states, **given)


def gated_difference(found: Certificate, whole: Certificate) -> str:
    for name in ("ok", "judged", "blind", "wrong", "first"):
        if getattr(found, name) != getattr(whole, name):
            return f"{name} {getattr(found, name)}, but {getattr(whole, name)} in full"
    if not np.isclose(found.ratio, whole.ratio, rtol=1e-6):
        return f"ratio {found.ratio:.9g}, but {whole.ratio:.9g} in full"
    return ""


def attack_gates(
    given: dict[str, Any], rng: np.random.Generator, faults: int = PER_LAYER
) -> Iterator[str]:
    """The difference of the honest certificate, and of those of some faults.

    Of half of the LSTM layers the cell states are shown, and may be wrong as well.
    """
    r, start = recurrence(given["recurrence"], given["reset_after"]), given.get("initial_state")
    starts = None if start is None else start if isinstance(start, tuple) else (start,)
    with np.errstate(all="ignore"):
        right = gated.forward(
            r, given["x"], given["kernel"], given["recurrent_kernel"], given["bias"],
            initial_state=starts,
        ).states  # fmt: skip
    if not all(np.isfinite(part).all() for part in right.values()):
        return
    shown = right if "c" in right and rng.uniform() < 0.5 else {"h": right["h"]}

    def asked(states: dict[str, Array]) -> tuple[Array, dict[str, Any]]:
        return states["h"], given | ({"cell_states": states["c"]} if "c" in states else {})

    h, told = asked(shown)
    whole = certified_in_full(h, told)
    yield gated_difference(certify(h, **told), whole)
    for _ in range(faults):
        wrong = {name: part.copy() for name, part in shown.items()}
        name = str(rng.choice(list(wrong)))
        at = tuple(int(rng.integers(n)) for n in h.shape)
        there = (list(wrong).index(name), *at) if len(wrong) > 1 else at
        factor = rng.choice(FACTORS) * rng.choice([-1, 1])
        wrong[name][at] = np.float32(whole.expected[there] + factor * whole.bound[there])
        h, told = asked(wrong)
        yield gated_difference(certify(h, **told), certified_in_full(h, told))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gates", action="store_true", help="of LSTM and GRU")
    parser.add_argument("--certificates", type=int, default=40_500, help="of faults")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng, faulted, different = np.random.default_rng(asked.seed), 0, 0
    drawn = gated_layers(asked.seed) if asked.gates else layers(asked.seed)
    for n, (kind, given) in enumerate(drawn):
        for i, problem in enumerate((attack_gates if asked.gates else attack)(given, rng)):
            faulted += i > 0
            if problem:
                different += 1
                print(f"DIFFERENT layer {n} ({kind}, {given.get('activation')}): {problem}")
        if n % 500 == 499:
            print(f"{n + 1} layers, {faulted} faulted certificates", flush=True)
        if faulted >= asked.certificates:
            break
    print(f"{faulted} faulted certificates, {different} that differ from those in full")
    return bool(different)


if __name__ == "__main__":
    raise SystemExit(main())
