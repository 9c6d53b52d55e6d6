"""``marconi completion``."""

import argparse

from marconi_api.commands import terminal

_SHELLS = ('bash', 'zsh', 'fish')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What follows its name."""
    parser.add_argument('shell', choices=_SHELLS)


def run(arguments: argparse.Namespace) -> None:
    """Print what makes a shell complete commands and their options.

    For example: source <(marconi completion bash)
    or, for zsh: marconi completion zsh > "${fpath[1]}/_marconi"
    or, for fish: marconi completion fish > ~/.config/fish/completions/marconi.fish
    """
    import shtab

    # It describes all commands, of which this is one.
    from marconi_api.commands.command_line import parser_of

    terminal.show(shtab.complete(parser_of(), shell=arguments.shell))
