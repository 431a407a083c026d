"""Which framework's session is asked?  The script: `python asked --framework torch`."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from typing import Any


def package() -> str:
    """This folder as a package, by a name that nothing else has, and no longer a place to look in.

    Otherwise a framework that imports what is called like one of its modules would get that.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder) != here]
    name = "rnn_check_asked"
    spec = importlib.util.spec_from_file_location(
        name, os.path.join(here, "__init__.py"), submodule_search_locations=[here]
    )
    assert spec is not None and spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return name


def main() -> None:
    inside = package()

    def module(name: str) -> Any:
        return importlib.import_module(f"{inside}.{name}")

    frameworks = module("named").FRAMEWORKS
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--framework", choices=list(frameworks), default="keras")
    parser.add_argument("--backend", help="Keras's; by default what Keras itself would take")
    given = parser.parse_args()
    module("wire").end_with_the_host()
    session: Any = None

    def hello() -> Any:
        nonlocal session
        session = module(frameworks[given.framework]).open_session(given.backend)
        return session.identity()

    def reply(line: str) -> Any:
        return module("session").reply_to(session, line)

    module("wire").serve(hello, reply)


if __name__ == "__main__":
    main()
