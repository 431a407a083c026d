"""`python -m rnn_check` is `rnn-check`."""

from rnn_check.cli import main

main(prog_name="rnn-check")
