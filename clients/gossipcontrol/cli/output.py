"""The one way to print: whatever strangers put into ids and errors, a line stays one line of readable text."""

from __future__ import annotations

import logging
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping

import click
from gossipcontrol.cli.document import event_line
from gossipcontrol.system.printable import printable

LEAST = 20
"""Columns beside the indent from which on lines are broken between words."""


def say(text: str = "", *, error: bool = False) -> None:
    """Print one line for people."""
    click.echo(printable(text), err=error)


def say_wrapped(text: str, indent: int = 0) -> None:
    """Print a sentence that breaks between words on a terminal, its further lines indented; a pipe gets one line."""
    line = printable(text)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    if len(line) <= width or width <= indent + LEAST:
        click.echo(line)
        return
    click.echo("\n".join(textwrap.wrap(line, width, subsequent_indent=" " * indent, break_on_hyphens=False,
                                       drop_whitespace=True, replace_whitespace=False)))  # fmt: skip


def say_event(what: str, text: str, fields: Mapping[str, object], *, as_json: bool) -> None:
    """Print what happened: one JSON object, which is ASCII, or one line for people with the time of day."""
    if as_json:
        click.echo(event_line(what, fields))
    else:
        say(f"{time.strftime('%H:%M:%S')}  {text}")


class PrintableFormatter(logging.Formatter):
    """What libraries log, traceback included, as readable lines."""

    def format(self, record: logging.LogRecord) -> str:
        """The record, line by line."""
        return "\n".join(map(printable, super().format(record).split("\n")))


def guard_logging() -> None:
    """Have what nothing else prints (``logging.lastResort``) printed as readable lines."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(PrintableFormatter())
