"""What can be expected?  One file a family, one class a kind; importing this registers them all."""

from __future__ import annotations

from rnn_check.claims.expectations import (  # noqa: F401
    arrays,
    behaviour,
    certified,
    configuration,
    dropout,
    files,
    losses,
    masks,
    models,
    one_step,
    refusals,
    relations,
    reports,
    shapes,
    states,
    training,
    weights,
)
