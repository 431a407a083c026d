"""`python -m rnn_check` is `rnn-check`."""

import signal


def start() -> None:
    """The command. While it is being imported, Ctrl-C ends it without a word."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rnn_check.cli.commands import main

    main(prog_name="rnn-check")


if __name__ == "__main__":
    start()
