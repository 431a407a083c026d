"""What can be asked?  One module a family; importing this registers all."""

from __future__ import annotations

from rnn_check.asking.questions import (  # noqa: F401
    dropout,
    gradients,
    misuse,
    models,
    reports,
    runs,
    training,
    weights,
)
