"""Writes the manual pages of both programs from their commands: ``python -m dev.man_pages --to DIRECTORY``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
from gossipcontrol.cli.main import main as client
from gossipcontrol.server.__main__ import main as server

EXIT_CODES = (("0", "done"), ("1", "failed"), ("2", "wrong usage"), ("3", "no service answers"))


def pages() -> dict[str, str]:
    """The text of each page by its file name."""
    found: dict[str, str] = {}
    for name, root in (("gossipcontrol", client), ("gossipcontrol-server", server)):
        for context in _contexts(root, click.Context(root, info_name=name)):
            title = context.command_path.replace(" ", "-")
            found[f"{title}.1"] = _page(title, context)
    return found


def _contexts(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    """The command and all below it."""
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _contexts(inner, click.Context(inner, parent=context, info_name=name))


def _page(title: str, context: click.Context) -> str:
    command = context.command
    summary = command.get_short_help_str(limit=200)
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [
        f'.TH "{_text(title.upper())}" "1" "" "gossipcontrol {version("gossipcontrol")}" "GossipControl"',
        ".SH NAME", f"{_text(title)} \\- {_text(summary)}",
        ".SH SYNOPSIS", f".B {_text(context.command_path)}", _text(usage),
        ".SH DESCRIPTION", *_paragraphs(command.help or summary),
    ]  # fmt: skip
    lines += [".SH OPTIONS", *_options(context)]
    if isinstance(command, click.Group):
        lines += [".SH COMMANDS", *_commands(command, context)]
    lines += [".SH EXIT STATUS"]
    for code, meaning in EXIT_CODES:
        lines += [".TP", f".B {code}", meaning]
    if context.parent is not None:
        parent = context.parent.command_path.replace(" ", "-")
        lines += [".SH SEE ALSO", f".BR {_text(parent)} (1)"]
    return "\n".join(lines) + "\n"


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield ".PP"
        yield _text(" ".join(paragraph.split()))


def _options(context: click.Context) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            yield from (".TP", f".B {_text(record[0])}", _text(record[1]) or "\\&")


def _commands(command: click.Group, context: click.Context) -> Iterator[str]:
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        path = f"{context.command_path} {name}".replace(" ", "-")
        yield from (".TP", f".BR {_text(path)} (1)", _text(inner.get_short_help_str(limit=200)))


def _text(text: str) -> str:
    """Text for troff: nothing in it is a request or an escape."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return re.sub(r"^(?=[.'])", r"\\&", escaped)


@click.command()
@click.option("--to", type=click.Path(file_okay=False, path_type=Path), default=Path("build/man"), show_default=True)
def main(to: Path) -> None:
    """Write a page per command."""
    (to / "man1").mkdir(parents=True, exist_ok=True)
    found = pages()
    for name, text in found.items():
        (to / "man1" / name).write_text(text, encoding="utf-8")
    click.echo(f"{len(found)} pages in {to / 'man1'}")


if __name__ == "__main__":
    main()
