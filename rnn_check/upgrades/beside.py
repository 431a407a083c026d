"""What is compared beside everything: a few claims compiled, in half precision, and in float64?

What breaks there alone is seen there alone: a mask that is compared in another precision, states
that are cast, a loop that is compiled otherwise. A few claims are enough to see it, and the process
that is asked has imported its framework already.
"""

from __future__ import annotations

from collections.abc import Sequence

from rnn_check.asking.request import Setting
from rnn_check.asking.run import BESIDE_KERAS, modes
from rnn_check.claims.claim import Claim

COMPILED = "compiled"
OTHER_DTYPES = ("mixed_float16", "mixed_bfloat16", "floatx_float64")
WAYS = (COMPILED, *OTHER_DTYPES)
# layers with gates and without, with masks, backwards, stacked, above each other; what is dropped
EVERY = (
    *("certified/tanh_sequence", "certified/masked_sequence", "certified/lstm_masked"),
    *("certified/gru_masked", "certified/gru_reset_before"),
    "options/bidirectional/stack", "options/cells/stacked",
    "options/states/returned_lstm"
    "[return_sequences=true, return_state=true, go_backwards=true, mask=holes]",
    'options/masks/masking_values[mask_value="0.1"]',
)  # fmt: skip
LARGE = ("certified/middle_of_a_stack", "options/stacks/gradients")  # to compile takes seconds
FEW = {
    COMPILED: (
        *(*EVERY, "options/dropout/recurrent", "options/dropout/gates_recurrent[kind=GRU]"),
        "options/training/reported[of=fit]",  # traced, as Keras trains by default
    ),
    "mixed_float16": (*EVERY, *LARGE, "options/training/fit_mixed"),  # whose loss is scaled
    "mixed_bfloat16": (*EVERY[:4], LARGE[0]),  # what mixed_float16 is in, but for its range
    "floatx_float64": (*EVERY, *LARGE),
}


def settings(backend: str) -> dict[str, Setting]:
    """In which of these ways a backend is asked, and how."""
    if backend in BESIDE_KERAS:
        return {}
    _, *compiled = modes(backend)
    found = {COMPILED: Setting(mode=compiled[0])} if compiled else {}
    return found | {dtype: Setting(dtype=dtype) for dtype in OTHER_DTYPES}


def few(claims: Sequence[Claim], way: str) -> list[Claim]:
    """Which of the claims are asked in that way; of those that vary, the first is named alone."""
    named = [c for c in claims if c.name in FEW[way]]
    rest = [name for name in FEW[way] if name not in {c.name for c in named}]
    found = {
        name: next((c for c in claims if c.name.startswith(f"{name}[")), None) for name in rest
    }
    return [*named, *(c for c in found.values() if c is not None)]


def options(setting: Setting) -> tuple[str, ...]:
    """With which it is asked so again."""
    told = (("--mode", setting.mode, "eager"), ("--dtype", setting.dtype, "float32"))
    return tuple(
        word for option, value, default in told for word in (option, value) if value != default
    )
