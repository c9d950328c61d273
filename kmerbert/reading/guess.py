"""Which columns of a table have the sequences and the labels, by what is in them."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from kmerbert.dna.sequences import is_dna
from kmerbert.reading.delimited import SHORT_DNA
from kmerbert.reading.sources import DECIMAL_COMMA, MISSING, Source, as_text, is_number

N_LOOKED_AT = 100  # first rows


class Guess(NamedTuple):
    """Columns that were found by their content.

    Attributes:
        sequence, label: Their names; None for what was not looked for or not found.
        remark: What was found, as a sentence; empty if there is nothing.
    """

    sequence: str | None = None
    label: str | None = None
    remark: str = ""


class _Cell(NamedTuple):
    """A cell that has a value, and the number of its row."""

    text: str
    number: int


def guess_columns(source: Source, sequence: str | None, label: str | None, taken: Collection[str] = ()) -> Guess:
    """Finds the columns of sequences and labels, if a table has none of the usual names.

    The one column whose cells in the first rows are all DNA has the sequences; the one whose cells are all numbers has the
    labels. A column `id` has ids. If no column fits, it is left to the reader to say what is missing.

    Args:
        source: The table.
        sequence, label: Usual names of the columns; None for one that is not looked for.
        taken: Names of columns that are something else.

    Raises:
        ValueError: Two columns fit, or one does but for some rows; or the table cannot be read.
    """
    names = source.columns
    is_sought = sequence is not None and sequence not in names, label is not None and label not in names
    if not any(is_sought):
        return Guess()
    usable = [name for name in names if name and names.count(name) == 1 and name not in {*taken, sequence, label, "id"}]
    cells = {name: _first_cells(source, name) for name in usable}
    found = _only_one(source, cells, _is_sequence, sequence, "DNA", "`sequence_column`") if is_sought[0] else None
    if is_sought[0] and not found:
        return Guess()
    found_label = _only_one(source, cells, _is_number, label, "numbers", "`label_column`") if is_sought[1] else None
    kinds = {"sequence column": found, "label column": found_label}
    what = ", ".join(f"{kind} {name!r}" for kind, name in kinds.items() if name)
    remark = (
        f"{source.name}: {what}: found by what the first rows contain; `sequence_column`, `label_column` name others"
    )
    return Guess(found, found_label, remark if what else "")


def _first_cells(source: Source, name: str) -> list[_Cell]:
    """The cells of the first rows of a column that have a value; none if they cannot be read."""
    cells: list[_Cell] = []
    try:
        for batch in source.batches([name]):
            texts = as_text(batch.columns[name][: N_LOOKED_AT - len(cells)]).to_pylist()
            cells += [_Cell((text or "").strip(), int(n)) for text, n in zip(texts, batch.numbers, strict=False)]
            if len(cells) >= N_LOOKED_AT:
                break
    except ValueError:  # whoever needs this column says so
        return []
    return [cell for cell in cells if cell.text not in MISSING]


def _is_sequence(text: str) -> bool:
    return len(text) >= SHORT_DNA and is_dna(text)


def _is_number(text: str) -> bool:
    return is_number(text) or re.fullmatch(DECIMAL_COMMA, text) is not None


def _only_one(
    source: Source,
    cells: Mapping[str, list[_Cell]],
    fits: Callable[[str], bool],
    usual: str,
    what: str,
    argument: str,
) -> str | None:
    """The one column whose cells all fit; None if most cells fit in none.

    Args:
        source: The table, for messages.
        cells: Of the columns that may be meant.
        fits: Tells whether a cell is of the kind that is sought.
        usual: Name that the column usually has, for messages, ...
        what: ... what it has, ...
        argument: ... and the argument that names it.

    Raises:
        ValueError: Several columns fit, or none does in all rows.
    """
    n_fitting = {name: sum(fits(cell.text) for cell in column) for name, column in cells.items()}
    whole = [name for name, n in n_fitting.items() if n and n == len(cells[name])]
    most = [name for name, n in n_fitting.items() if n > len(cells[name]) / 2]
    if len(whole) == 1:
        return whole[0]
    if whole:
        listed = ", ".join(map(repr, whole[:12]))
        raise ValueError(
            f"{source.name}: no column {usual!r}, and {len(whole)} columns have {what}: {listed}: name one with {argument}"
        )
    for name in most[:1]:
        other = next(cell for cell in cells[name] if not fits(cell.text))
        raise ValueError(
            f"{source.name}: no column {usual!r}; {name!r} has {what}, but {source.location(other.number)} has "
            f"{other.text[:40]!r}: fix the row, or name the column with {argument}"
        )
    return None
