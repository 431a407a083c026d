"""Which tests have to be of one worker, where several run them?

xdist's own marks of groups are read by no xdist up to 3.8 under pytest 9.2 (its issue 1386), so the
groups go by files.
"""

from __future__ import annotations

# each of its tests imports what it needs, or starts a process that does
SPREAD = ("tests/keras/test_activations.py", "tests/keras/test_no_false_alarm.py")
# of whose tests each takes what is made once: 2,000 trainings, a subject of its own, all that is
# written here as trees
TOGETHER = (
    "tests/certificates/test_training.py",
    "tests/subjects/test_torch_session.py",
    "tests/test_architecture.py",
)
DRAWN = ("tests/reports/test_notebook.py", "tests/reports/test_page.py")  # by matplotlib


def group(nodeid: str, everything: bool) -> str:
    """Tests of one group are of one worker: in a quick run one framework is imported, and the cases
    of a test follow each other; of everything a file has one subject, and each worker a framework.
    """
    file = nodeid.partition("::")[0]
    if file.startswith("tests/keras/") and not (everything and file in SPREAD):
        return file if everything else "framework"
    if file in TOGETHER:
        return file
    if everything:
        return nodeid
    return "drawn" if file in DRAWN else nodeid.partition("[")[0]
