"""Which columns of a table have the sequences and the labels, by what is in them."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from kmerbert.dna.sequences import is_dna
from kmerbert.reading.delimited import SHORT_DNA
from kmerbert.reading.sources import DECIMAL_COMMA, MISSING, Source, as_text, is_number

N_LOOKED_AT = 1000  # first rows
MOST_REPEATED = (
    0.2  # share of a column's whole numbers that repeat another; of groups, plates and small counts it is more
)


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

    The one column that has DNA in most of the first rows has the sequences; the one that has numbers has the labels, but not one
    of whole numbers that repeat, which may be groups or ids. A column `id` has ids. If no column fits, it is left to the reader to say what is missing, and so are rows that do not fit.

    Args:
        source: The table.
        sequence, label: Usual names of the columns; None for one that is not looked for.
        taken: Names of columns that are something else.

    Raises:
        ValueError: Two columns fit, or the only numbers look like groups.
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
        found_label = _only_label(source, cells, label)
    kinds = {"sequence column {!r} (`sequence_column`)": found, "label column {!r} (`label_column`)": found_label}
    what = ", ".join(kind.format(name) for kind, name in kinds.items() if name)
    return Guess(found, found_label, f"{source.name}: {what}: guessed by what the first rows contain" if what else "")


def find_names(source: Source, taken: Collection[str] = ()) -> str | None:
    """The first column that can name the rows of a table: text that is no DNA, another one in each of the first rows.

    Args:
        source: The table.
        taken: Names of columns that are something else.
    """
    try:
        columns = source.columns
    except ValueError:  # whoever reads the table says so
        return None
    for name in columns:
        if name and columns.count(name) == 1 and name not in taken:
            cells = _first_cells(source, name)
            is_text = not any(_is_number(cell) or _is_sequence(cell) for cell in cells)
            if is_text and len(cells) > 1 and len(set(cells)) == len(cells):
                return name
    return None


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


def _are_groups(texts: list[str]) -> bool:
    """Tells whether numbers are whole and repeat, as the numbers of groups and plates do."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return False
    return all(map(float.is_integer, numbers)) and len(set(numbers)) < (1 - MOST_REPEATED) * len(numbers)


def _only_label(source: Source, cells: Mapping[str, list[str]], usual: str) -> str | None:
    """The one column that has measured values; arguments, result and errors as for `_only_one`."""
    measured = {name: texts for name, texts in cells.items() if not _are_groups(texts)}
    groups = [name for name in cells if name not in measured]
    hint = " (`group_column`, if one says which rows belong together)"
    found = _only_one(source, measured, _is_number, usual, "numbers", "`label_column`", hint)
    if found or not groups:
        return found
    if len(groups) > 1:
        return _only_one(source, cells, _is_number, usual, "numbers", "`label_column`", hint)
    raise ValueError(
        f"{source.name}: no column {usual!r}; the only column of numbers, {groups[0]!r}, looks like a group or an id: name the "
        "measured one with `label_column`"
    )


def _only_one(
    source: Source,
    cells: Mapping[str, list[str]],
    fits: Callable[[str], bool],
    usual: str,
    what: str,
    argument: str,
    hint: str = "",
) -> str | None:
    """The one column most of whose cells fit; None if there is none.

    Args:
        source: The table, for messages.
        cells: Of the columns that may be meant.
        fits: Tells whether a cell is of the kind that is sought.
        usual: Name that the column usually has, for messages, ...
        what: ... what it has, ...
        argument: ... and the argument that names it.
        hint: What is added to the advice.

    Raises:
        ValueError: Several columns fit.
    """
    found = [name for name, texts in cells.items() if sum(map(fits, texts)) > len(texts) / 2]
    if len(found) > 1:
        listed = ", ".join(map(repr, found[:12]))
        raise ValueError(
            f"{source.name}: no column {usual!r}, and {len(found)} columns have {what}: {listed}: name one with {argument}{hint}"
        )
    return found[0] if found else None
