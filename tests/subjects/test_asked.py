"""Is what runs beside a framework right where it needs none?"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_check.subjects.asked import backends, machine, parts


def test_settings_that_change_numbers_are_part_of_the_identity() -> None:
    changing = ["TF_ENABLE_ONEDNN_OPTS", "XLA_FLAGS", "TF_XLA_FLAGS", "NVIDIA_TF32_OVERRIDE",
                "OMP_NUM_THREADS", "JAX_DEFAULT_MATMUL_PRECISION", "DNNL_MAX_CPU_ISA"]  # fmt: skip
    assert all(machine.SETTINGS.match(name) for name in changing)
    assert not any(
        machine.SETTINGS.match(name) for name in ("PATH", "TF_CPP_MIN_LOG_LEVEL", "HOME")
    )


@pytest.mark.parametrize("file", sorted(Path(machine.__file__).parent.glob("*.py")), ids=str)
def test_the_script_is_python_3_9_and_needs_only_numpy(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
                for alias in node.names}  # fmt: skip
    imported |= {str(node.module) for node in ast.walk(tree)
                 if isinstance(node, ast.ImportFrom) and not node.level}  # fmt: skip
    others = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    assert others <= {"numpy", "numpy.typing"}


def test_every_keras_s_configuration_is_described_alike() -> None:
    own = {"gain": 1.0, "seed": None}
    described = {"kind": "Orthogonal", "gain": 1.0, "seed": None}
    for written in (
        {"class_name": "Orthogonal", "config": own},
        {"class_name": "OrthogonalInitializer", "config": own, "module": "keras.initializers"},
    ):
        assert parts.as_described({"of": [written]}) == {"of": [described]}
    function = {"class_name": "function", "config": "my_tanh", "module": "builtins"}
    assert parts.as_described({"activation": function}) == {"activation": "my_tanh"}
    (rate,) = parts.as_described((np.float32(0.5),))
    assert type(rate) is float


def test_jax_may_lack_options_of_its_compile_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """As 0.4.21 and 0.4.23 do, on which Keras 3.0.1 and 3.0.2 run."""

    class Config:
        def __init__(self) -> None:
            self.jax_compilation_cache_dir = None
            self.jax_persistent_cache_min_compile_time_secs = 1

        def update(self, option: str, value: object) -> None:
            if not hasattr(self, option):
                raise AttributeError(f"Unrecognized config option: {option}")
            setattr(self, option, value)

    config = Config()

    def opened(self: backends.Backend, keras: Any, name: str) -> None:
        self.package = type("jax", (), {"config": config})

    monkeypatch.setattr(backends.Backend, "__init__", opened)
    backends.Jax(None, "jax")
    assert config.jax_compilation_cache_dir == machine.cache_folder("jax")
    assert config.jax_persistent_cache_min_compile_time_secs == 0
