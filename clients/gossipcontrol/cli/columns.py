"""Columns for people that fit the terminal: ids are shortened, words wrap, and sentences move below their row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gossipcontrol.system.printable import printable
from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

ID_HEADS = frozenset({"NODE", "STORE", "PEER"})
"""Heads of columns with ids of any length: shortened where there is no room."""
SENTENCE_HEADS = frozenset({"WHY", "DETAIL"})
"""Heads of columns with sentences: wrapped, or moved below their row."""
WHOLE_HEADS = frozenset({"REJOIN"})
"""Heads of columns with short ids that people copy: narrowed last."""
TIME_HEADS = frozenset({"WHEN", "AFTER"})
"""Heads of columns with a time and its unit, which belong together: broken only where all else is narrowed."""
STEPS: tuple[tuple[str, int], ...] = (
    ("id", 24), ("sentence", 40), ("id", 13), ("sentence", 20), ("word", 0), ("id", 9),
    ("id", 7), ("head", 0), ("id", 5), ("sentence", 0), ("time", 0), ("whole", 0), ("least", 0),
)  # fmt: skip
"""What is narrowed, and down to which width; what costs the reader least comes first."""
BESIDE_STEPS = 6
"""Steps after which a sentence moves below its row instead."""
LEAST = 4
"""Least width of a column, whatever its head."""

Cell = str | Text


class Columns:
    """Rows of cells below heads. ``ids``: the heads are ids too, and all cells may be cut."""

    def __init__(self, *heads: str, ids: bool = False) -> None:
        self._heads = [printable(head) for head in heads]
        self._kinds = ["id" if ids or head in ID_HEADS else _kind(head) for head in heads]
        self._rows: list[list[Text]] = []

    @property
    def row_count(self) -> int:
        """Number of rows."""
        return len(self._rows)

    def add_row(self, *cells: Cell) -> None:
        """Add a row; every cell is made printable, and those left out at its end are empty."""
        texts = [cell if isinstance(cell, Text) else Text(cell) for cell in cells]
        texts += [Text("")] * (len(self._heads) - len(texts))
        self._rows.append([Text(printable(text.plain), text.style) for text in texts])

    def render(self, width: int | None = None) -> RenderableType:
        """The rows in so many cells of a terminal; None: as wide as they are, one line per row."""
        natural = self._natural()
        if width is None or sum(natural) + 2 * (len(natural) - 1) <= width:
            return self._table(range(len(natural)), natural, self._rows, gap=2)
        everything = range(len(natural))
        sentence = next((index for index in everything if self._kinds[index] == "sentence"), None)
        if sentence is None:
            return self._table(everything, self._narrowed(everything, width), self._rows, gap=1)
        widths = self._narrowed(everything, width, BESIDE_STEPS)
        if sum(widths) + len(widths) - 1 <= width:
            widths[sentence] += width - (sum(widths) + len(widths) - 1)
            return self._table(everything, widths, self._rows, gap=1)
        beside, below = [index for index in everything if index != sentence], [sentence]
        widths = self._narrowed(beside, width)
        while torn := [column for column, have in zip(beside, widths, strict=True) if self._is_torn(column, have)]:
            below.insert(0, max(torn, key=self._longest_word))
            beside.remove(below[0])
            widths = self._narrowed(beside, width)
        return Group(*self._stacked(beside, widths, below))

    def full_width(self) -> int:
        """Cells that the rows take when nothing is cut."""
        natural = self._natural()
        return max(1, sum(natural) + 2 * (len(natural) - 1))

    def _natural(self) -> list[int]:
        return [
            max([cell_len(head), *(cell_len(row[index].plain) for row in self._rows)])
            for index, head in enumerate(self._heads)
        ]

    def _narrowed(self, columns: Sequence[int], width: int, steps: int | None = None) -> list[int]:
        """The widths of columns, narrowed step by step, the widest column of each step first, until they fit."""
        natural = self._natural()
        widths = [natural[column] for column in columns]
        for floors in self._floors(columns, STEPS[:steps]):
            while sum(widths) + len(widths) - 1 > width:
                wide = [place for place, have in enumerate(widths) if have > floors[place]]
                if not wide:
                    break
                widths[max(wide, key=widths.__getitem__)] -= 1
        return widths

    def _floors(self, columns: Sequence[int], steps: Sequence[tuple[str, int]]) -> Iterator[list[int]]:
        """The least widths of columns after each step."""
        kinds = [self._kinds[column] for column in columns]
        floors = [1 << 30] * len(kinds)
        for step, least in steps:
            for place, (column, kind) in enumerate(zip(columns, kinds, strict=True)):
                if step == "word" and kind == "word":
                    floors[place] = self._longest_word(column)
                elif step == "head" and kind == "word":
                    floors[place] = cell_len(self._heads[column])
                elif step in (kind, "least"):
                    floors[place] = least or LEAST
            yield floors

    def _is_torn(self, column: int, width: int) -> bool:
        """Whether a word of a column does not fit into so many cells."""
        return self._kinds[column] == "word" and self._longest_word(column) > width

    def _longest_word(self, column: int) -> int:
        texts = [self._heads[column], *(row[column].plain for row in self._rows)]
        return max(cell_len(word) for text in texts for word in (text.split() or [""]))

    def _table(self, columns: Sequence[int], widths: Sequence[int], rows: Sequence[Sequence[Text]], gap: int) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold", show_header=True)
        for column, width in zip(columns, widths, strict=True):
            head = self._heads[column]
            table.add_column(Text(_cut(head, width) if self._kinds[column] == "id" else head), width=width,
                             overflow="fold", no_wrap=self._kinds[column] == "id")  # fmt: skip
        for row in rows:
            cells = zip(columns, widths, strict=True)
            table.add_row(*(self._fitted(row[column], column, width) for column, width in cells))
        return table

    def _stacked(self, columns: Sequence[int], widths: Sequence[int], below: Sequence[int]) -> Iterator[RenderableType]:
        """Each row, and below it its sentence and the words that found no room beside the others."""
        yield self._table(columns, widths, (), gap=1)
        yield Padding(Text(": ".join(self._heads[column] for column in below), "bold"), (0, 0, 0, 2))
        for row in self._rows:
            table = self._table(columns, widths, [row], gap=1)
            table.show_header = False
            yield table
            said = [row[column] for column in below if row[column].plain]
            if said:
                yield Padding(Text(": ").join(said), (0, 0, 0, 2))

    def _fitted(self, cell: Text, column: int, width: int) -> Text:
        return Text(_cut(cell.plain, width), cell.style) if self._kinds[column] == "id" else cell


def _kind(head: str) -> str:
    if head in SENTENCE_HEADS:
        return "sentence"
    if head in TIME_HEADS:
        return "time"
    return "whole" if head in WHOLE_HEADS else "word"


def _cut(text: str, width: int) -> str:
    """An id of at most so many cells: its beginning, and an ellipsis."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"
