"""Which packages stand in a subject's environment, and where is it?

wanted = parse("keras==3.12.0,jax==0.7.2@jax")      # what somebody typed
environment = resolve(wanted, find_python("3.11"))  # which files of everything that means
with environment.held() as interpreter:             # made at the first call, found at the next
    ...                                             # and not removed as long as this lasts
"""

from rnn_check.subjects.environments.environment import Environment
from rnn_check.subjects.environments.interpreters import Python, find_python
from rnn_check.subjects.environments.locks import cache, environments
from rnn_check.subjects.environments.programs import interruptible
from rnn_check.subjects.environments.requirement import NEEDS, Wanted, WordError, parse
from rnn_check.subjects.environments.resolution import NOW, newest, resolve
from rnn_check.subjects.environments.uv import Package, Unmade, installer, told

__all__ = [
    "NEEDS",
    "NOW",
    "Environment",
    "Package",
    "Python",
    "Unmade",
    "Wanted",
    "WordError",
    "cache",
    "environments",
    "find_python",
    "installer",
    "interruptible",
    "newest",
    "parse",
    "resolve",
    "told",
]
