"""How is a saved model loaded, also by a Keras that is older than the one that saved it?"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from typing import Any

_ZEROS: dict[str, Any] = {
    "module": "keras.initializers",
    "class_name": "Zeros",
    "config": {},
    "registered_name": None,
}
_NEWER = ("quantization_config",)  # what older ones do not take, and is None where it is not used


def no_model(path: str) -> str:
    """Why that file is none that Keras saved, as far as its beginning tells; empty if it may be."""
    if path.endswith(".keras") and not zipfile.is_zipfile(path):
        return "no model that Keras saved: such a file is a zip archive"
    return ""


def loaded(keras: Any, path: str) -> Any:
    """The model of FILE.keras or FILE.h5, without what it was trained with.

    What first made its weights does not matter, since they are in the file; a newer Keras may say
    of an initializer what this one does not know. So that is left out where the file is refused,
    and what says nothing.
    """
    try:
        return keras.models.load_model(path, compile=False)
    except Exception:
        if not zipfile.is_zipfile(path):
            raise
        with tempfile.TemporaryDirectory() as folder:
            other = os.path.join(folder, "model.keras")
            if not _as_older(path, other):
                raise
            try:
                return keras.models.load_model(other, compile=False)
            except Exception:  # what was said of the file itself is what helps
                pass
        raise


def _as_older(path: str, other: str) -> bool:
    """Write the same file without what an older Keras may refuse; whether there is any."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for member in old.infolist():
            data = old.read(member)
            if member.filename == "config.json":
                said = json.loads(data)
                plain = _plain(said)
                if plain == said:
                    return False
                data = json.dumps(plain).encode()
            new.writestr(member, data)
    return True


def _plain(config: Any) -> Any:
    if isinstance(config, list):
        return [_plain(each) for each in config]
    if not isinstance(config, dict):
        return config
    return {
        key: _ZEROS if key.endswith("_initializer") and isinstance(value, dict) else _plain(value)
        for key, value in config.items()
        if key not in _NEWER or value is not None
    }
