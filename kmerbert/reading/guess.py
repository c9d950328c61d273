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


def guess_columns(source: Source, sequence: str | None, label: str | None, taken: Collection[str] = ()) -> Guess:
    """Finds the columns of sequences and labels, if a table has none of the usual names.

    The one column that has DNA in most of the first rows has the sequences; the one that has numbers has the labels. A column
    `id` has ids. If no column fits, it is left to the reader to say what is missing, and so are rows that do not fit.

    Args:
        source: The table.
        sequence, label: Usual names of the columns; None for one that is not looked for.
        taken: Names of columns that are something else.

    Raises:
        ValueError: Two columns fit.
    """
    try:
        names = source.columns
    except ValueError:  # whoever reads the table says so
        return Guess()
    is_sought = sequence is not None and sequence not in names, label is not None and label not in names
    if not any(is_sought) or sum(map(bool, names)) < len(names) / 2:  # a title above the names
        return Guess()
    usable = [name for name in names if name and names.count(name) == 1 and name not in {*taken, sequence, label, "id"}]
    cells = {name: _first_cells(source, name) for name in usable}
    found = found_label = None
    if is_sought[0]:
        found = _only_one(source, cells, _is_sequence, sequence, "DNA", "`sequence_column`")
        if not found:
            return Guess()
    if is_sought[1]:
        found_label = _only_one(source, cells, _is_number, label, "numbers", "`label_column`")
    kinds = {"sequence column {!r} (`sequence_column`)": found, "label column {!r} (`label_column`)": found_label}
    what = ", ".join(kind.format(name) for kind, name in kinds.items() if name)
    return Guess(found, found_label, f"{source.name}: {what}: guessed by what the first rows contain" if what else "")


def _first_cells(source: Source, name: str) -> list[str]:
    """The cells of the first rows of a column that have a value; none if they cannot be read."""
    cells: list[str] = []
    try:
        for batch in source.batches([name]):
            texts = as_text(batch.columns[name][: N_LOOKED_AT - len(cells)]).to_pylist()
            cells += [(text or "").strip() for text in texts]
            if len(cells) >= N_LOOKED_AT:
                break
    except ValueError:  # whoever needs this column says so
        return []
    return [cell for cell in cells if cell not in MISSING]


def _is_sequence(text: str) -> bool:
    return len(text) >= SHORT_DNA and is_dna(text)


def _is_number(text: str) -> bool:
    return is_number(text) or re.fullmatch(DECIMAL_COMMA, text) is not None


def _only_one(
    source: Source, cells: Mapping[str, list[str]], fits: Callable[[str], bool], usual: str, what: str, argument: str
) -> str | None:
    """The one column most of whose cells fit; None if there is none.

    Args:
        source: The table, for messages.
        cells: Of the columns that may be meant.
        fits: Tells whether a cell is of the kind that is sought.
        usual: Name that the column usually has, for messages, ...
        what: ... what it has, ...
        argument: ... and the argument that names it.

    Raises:
        ValueError: Several columns fit.
    """
    found = [name for name, texts in cells.items() if sum(map(fits, texts)) > len(texts) / 2]
    if len(found) > 1:
        listed = ", ".join(map(repr, found[:12]))
        raise ValueError(
            f"{source.name}: no column {usual!r}, and {len(found)} columns have {what}: {listed}: name one with {argument}"
        )
    return found[0] if found else None
