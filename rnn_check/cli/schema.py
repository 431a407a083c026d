"""How is a claim file written, for editors?"""

from __future__ import annotations

import json

import click

from rnn_check.cli.commands import main


@main.command()
def schema() -> None:
    """Print the JSON Schema of claim files, for editors."""
    from rnn_check.claims.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
