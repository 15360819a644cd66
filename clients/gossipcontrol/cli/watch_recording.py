"""What ``gossipcontrol watch`` does without reporting: recordings, and the self-test."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import click
from gossipcontrol.cli.output import say
from gossipcontrol.cli.table import terminal_width
from gossipcontrol.system.printable import printable
from gossipcontrol.watch.recording import Recorder, RecordingError, read_recording
from gossipcontrol.watch.replay import replay
from gossipcontrol.watch.route_message import MalformedError
from gossipcontrol.watch.scope import Filter
from gossipcontrol.watch.self_test import conclusion, self_test

MARK = 6
"""Width of the column that says whether something works."""
FILE = click.Path(dir_okay=False, path_type=Path)


@contextmanager
def recorder_into(path: Path | None) -> Generator[Recorder | None]:
    """A recorder into a new file, closed at the end; none without a path. Raises ClickException."""
    if path is None:
        yield None
        return
    try:
        recorder = Recorder(path)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be made: {error.strerror}") from error
    try:
        yield recorder
    finally:
        recorder.close()


def show_replay(path: Path, chosen: Filter, quiet: float, *, as_json: bool) -> None:
    """One line per report of a recording; raises ClickException for a file that cannot be read."""
    try:
        reports = list(replay(read_recording(path), chosen, quiet))
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}") from error
    except (RecordingError, MalformedError) as error:
        raise click.ClickException(f"{path} cannot be replayed: {error}") from error
    for one in reports:
        if as_json:
            click.echo(json.dumps({"at": one.at, "kind": one.kind.name.lower(), "detail": one.detail}))
        else:
            say(f"{one.at:10.3f} s  {one.kind.label}: {one.detail}")
    if not as_json:
        say(f"reports: {len(reports)}")


def _say_wrapped(text: str, indent: int = 0) -> None:
    """One line; on a terminal as many as it takes."""
    text, width = printable(text), terminal_width()
    for line in textwrap.wrap(text, width, subsequent_indent=" " * indent) if width else [text]:
        say(line)


async def show_self_test(chosen: Filter, *, as_json: bool) -> int:
    """One line per check, and what follows; returns the exit code: 1 when the network is not watched but polled."""
    checks = await self_test(chosen)
    for one in checks:
        if as_json:
            click.echo(json.dumps({"check": one.name, "works": one.works, "detail": one.text}))
        else:
            _say_wrapped(f"{'ok' if one.works else 'FAILS':{MARK}}{one.name}: {one.text}", MARK)
    if not as_json:
        _say_wrapped(conclusion(checks))
    return 0 if checks[0].works else 1
