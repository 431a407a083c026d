"""Can a file of known deviations do anything but load, or be refused with its one error?

    python -m tools.fuzz_deviations --cases 20000

Mutates the bundled file: keys are dropped, doubled and misspelt, values exchanged for others of
every kind, numbers of thousands of digits, names of hundreds of letters, and bytes flipped. What
loads is asked about claims as well. Says how many loaded and how many were refused; anything else
that is raised ends it with the seed and the file.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

from rnn_check.asking.request import Setting
from rnn_check.claims import files
from rnn_check.refusal import ClaimError
from rnn_check.subjects.identity import Identity
from rnn_check.verdicts import deviations

VALUES = (
    *("true", "false", "0", "-1", "1.5", "nan", "-inf", '""', '" "', "[]", "{}", '["a", 1]'),
    *("0x" + "f" * 5000, "9" * 5000, "0b" + "1" * 300, str(2**63), "1e400", "1979-05-27"),
    *('"' + "a" * 300 + '"', '"../../etc/passwd"', '"a\\u0000b"', '"\\n"', '"*"', '"\\U0001F600"'),
    *("[" * 900 + "]" * 900, "{ a = { b = { c = [[[1]]] } } }", '"sparsemax.py"', '"differ"'),
    *('">=3.0,<3.16"', '"==3.*"', '"~=99999999999999999999"', '">=1!2.post3+local"', '"==="'),
    *('"float64"', '"jax"', '["jax", "numpy"]', '"SimpleRNN"', '"given"', "{ unroll = true }"),
)
KEYS = (*deviations.Deviation.__struct_fields__, "claim", "what", "schema", "a.b", '""', '"\\n"')


def mutated(text: str, rng: random.Random) -> bytes:
    """The file with one to four things wrong, or right in another way."""
    lines = text.splitlines()
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(lines))
        key = lines[at].partition("=")[0].strip()
        what = rng.randrange(7)
        if what == 0:
            del lines[at]
        elif what == 1:
            lines.insert(at, rng.choice(lines))
        elif what == 2 and key:
            lines[at] = f"{key} = {rng.choice(VALUES)}"
        elif what == 3:
            lines.insert(at, f"{rng.choice(KEYS)} = {rng.choice(VALUES)}")
        elif what == 4 and "=" in lines[at]:
            lines[at] = f"{rng.choice(KEYS)} ={lines[at].partition('=')[2]}"
        elif what == 5 and lines[at]:
            cut = rng.randrange(len(lines[at]))
            lines[at] = lines[at][:cut] + rng.choice('"\\[]{}=#é\x00 ') + lines[at][cut + 1 :]
        lines = lines or [""]
    raw = bytearray("\n".join(lines).encode())
    if raw and rng.random() < 0.05:
        raw[rng.randrange(len(raw))] = rng.randrange(256)
    return bytes(raw)


def fuzz(cases: int, seed: int, folder: Path) -> Counter[str]:
    """How many of so many files loaded, and how many were refused; the files lie in `folder`."""
    whole = deviations.bundled().read_text(encoding="utf-8")
    _, *entries = whole.split("[[deviation]]")
    (folder / "sparsemax.py").touch()
    file = folder / "known.toml"
    asked = [files.load_each(path)[0] for path in sorted(files.bundled().glob("options/*/*.toml"))]
    subject = Identity(keras="3.15.1", backend="jax", backend_version="1", numpy="2")
    counted: Counter[str] = Counter()
    for case in range(cases):
        rng = random.Random(f"{seed} {case}")
        chosen = rng.sample(entries, min(len(entries), rng.randint(1, 3)))
        text = "[[deviation]]".join(["schema = 2\n", *chosen])
        for name in {line.split('"')[1] for line in text.splitlines() if "reproducer" in line}:
            text = text.replace(name, "sparsemax.py")
        file.write_bytes(mutated(text, rng))
        try:
            loaded = deviations.load(file)
        except ClaimError as error:
            message = str(error)
            if not message.startswith(f"{file}: ") or len(message) > 20_000:
                raise AssertionError(f"seed {seed}, case {case}: {message[:300]}") from None
            counted["refused"] += 1
            continue
        except Exception:
            print(f"seed {seed}, case {case}: {file}", file=sys.stderr)
            raise
        counted["loaded"] += 1
        for entry in loaded:
            entry.is_of(subject, Setting())
            entry.is_about(rng.choice(asked), "float32")
    return counted


def main() -> None:
    import tempfile

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        counted = fuzz(given.cases, given.seed, Path(folder))
    seconds = time.perf_counter() - began
    print(f"{counted['loaded']:,} loaded, {counted['refused']:,} refused, {seconds:.0f} s")


if __name__ == "__main__":
    main()
