"""Which files outside docs/ are pages of the site, and where do links to them lead there?

A hook of MkDocs, named in mkdocs.yml. In the repository every link leads to the file as it lies
there; in the site README.md is the first page, and what docs/ links to in fixtures/ comes along.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "index.md": "README.md",
    **{name: name for name in ("README.zh.md", "CONTRIBUTING.md", "CHANGELOG.md")},
}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    outside = PAGES | {
        path.relative_to(ROOT).as_posix(): path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "fixtures" / "known").iterdir())
        if path.suffix in (".py", ".toml")
    }
    for where, name in outside.items():
        files.append(File.generated(config, where, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    flat = re.sub(r"\]\((?:\.\./|docs/)", "](", markdown)
    return flat.replace("](README.md", "](index.md")
