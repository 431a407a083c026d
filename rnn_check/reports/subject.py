"""How is a subject named, in full?"""

from __future__ import annotations

from rnn_check.subjects.identity import Who


def header(subject: Who) -> str:
    """The subject in full, on one line."""
    if subject.did_not_start:
        return f"{subject.backend} · {subject.mode} · did not start"
    parts = [
        *([f"keras {subject.keras}"] if subject.is_keras else []),
        f"{subject.backend} {subject.backend_version}",
        subject.mode,
        f"Python {subject.python}",
        f"NumPy {subject.numpy}",
        subject.device,
        subject.dtype,
    ]
    if subject.output_dtype:
        parts[-1] += f" (output: {subject.output_dtype})"
    return " · ".join(parts)


def machine(subject: Who) -> list[str]:
    """What else may change its numbers: processor, threads, settings that are not the default."""
    parts = [subject.cpu] if subject.cpu else []
    if threads := subject.threads:
        parts.append(f"{threads} thread" + "s" * (threads != 1))
    parts += [f"{name}={value}" for name, value in sorted(subject.settings.items())]
    if subject.has_own_layer:
        parts.append(f"layer {subject.layer}")
    return parts
