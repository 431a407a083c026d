"""Which claims are judged, and what is known to be wrong?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rnn_check.cli.commands import BadInput

if TYPE_CHECKING:
    from rnn_check.claims.claim import Claim
    from rnn_check.verdicts.known import Known


def chosen_claims(paths: tuple[Path, ...], pattern: str | None, options: bool) -> list[Claim]:
    """Those in the paths, or those that are bundled; of these, what options do only if asked.

    A file that is refused is shown at once and stops no other; the exit code is 2 in the end.
    """
    import dataclasses

    from rnn_check.claims.files import bundled, find, load_what_loads

    if not paths and not options and pattern is None:
        ours = find([bundled()])
        paths = tuple(file for name, file in ours if not name.startswith("options/"))
    claims, refused = load_what_loads(paths)
    if refused and not claims:
        raise BadInput("\n".join(map(str, refused)))
    for refusal in refused:
        click.echo(f"Error: {refusal}", err=True)
        click.get_current_context().ensure_object(list).append(refusal)
    if pattern is None:
        return claims
    chosen = [c for c in claims if c.name == pattern]
    if not chosen:
        for c in claims:
            matching = tuple(
                e for e in c.expectations if pattern.lower() in f"{c.name} {e.name}".lower()
            )
            if matching:
                chosen.append(dataclasses.replace(c, expectations=matching))
    if not chosen:
        raise BadInput(f"-k: no claim matches {pattern!r}; `rnn-check --list` shows them")
    return chosen


# what is asked of whole models, which costs most, and does the same with layers of every kind
_ALIKE = tuple(
    f"options/{folder}/"
    for folder in ("bidirectional", "masks", "numbers", "saving", "stateful", "training")
)


def covered(claims: Sequence[Claim]) -> list[Claim]:
    """Of what options do, so few that each value of what varies is asked once, in some folders of
    one of the layers of which files say the same; all others."""
    from rnn_check.claims.variants import covering, like

    alike: dict[str, list[str]] = {}
    for claim in claims:
        file = claim.name.partition("[")[0]
        if file.startswith("options/"):
            shared = like(file) if file.startswith(_ALIKE) else file
            alike.setdefault(shared, []).append(claim.name)
    names = {name for each in alike.values() for name in covering(each)}
    return [c for c in claims if c.name in names or not c.name.startswith("options/")]


def known_deviations(known: Path | None, whole: bool) -> Known:
    """The known deviations; whole: whether all the bundled claims are judged."""
    from rnn_check.verdicts import deviations
    from rnn_check.verdicts import known as verdicts_known

    entries = deviations.load(known or deviations.bundled())
    return verdicts_known.Known(entries, own=known is not None, whole=whole)
