"""How does other people's text stay text in GitHub's Markdown?"""

from __future__ import annotations

import re


def escaped(text: str) -> str:
    """So that what a claim or a subject is called is text: no markup, no end of a cell or a line.

    GitHub makes links of names after an @, of numbers after a # and of bare addresses, wherever
    they stand; a comment, which it takes out, keeps them apart.
    """
    text = re.sub(r"[\x00-\x20\x7f-\x9f\u2028-\u202e\u2066-\u2069]+", " ", text)
    text = re.sub(r"([\\`*_\[\]#|~$])", r"\\\1", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"(@|://|www\.|\\#)", rf"\1{_APART}", text, flags=re.IGNORECASE)


def fenced(text: str) -> list[str]:
    """The text as it stands, in a block that nothing in it can end."""
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", text, fence]


_APART = "<!-- -->"
