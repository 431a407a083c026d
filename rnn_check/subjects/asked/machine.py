"""On what machine, and beside which packages, does the framework run?"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re

ENVIRONMENT = dict(os.environ)  # before a framework adds to it
SETTINGS = re.compile(  # environment variables of what computes the numbers
    r"(TF|XLA|JAX|TORCH|PYTORCH|ATEN|CUBLAS|CUDNN|NVIDIA|ONEDNN|DNNL|MKL|OMP|OPENBLAS|OPENVINO|OV)_"
    r"(?!CPP_|CLI_)"  # TensorFlow's logging, and Terraform
)


def available_cores() -> int:
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cache_folder(name: str) -> str:
    """Where this user's compiled programs for this processor are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(home, "rnn_check", name, re.sub(r"\W+", "-", cpu_model()))


def cpu_model() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def packages() -> dict[str, str]:
    """Every package that is installed, and its version."""
    found = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    return dict(sorted(found.items(), key=lambda item: str(item[0]).lower()))
