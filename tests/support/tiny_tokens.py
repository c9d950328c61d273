"""Token files of tables that a test writes, and what must be in them, row by row."""

from pathlib import Path
from typing import Any

import numpy as np

from kmerbert.reading.rows import RowSpec
from kmerbert.reading.sources import FileSource
from kmerbert.tokens.cache import TokenTable, tokenise
from tokenization_kmer import KmerTokenizer


def read_tokens(path: Path, tokenizer: KmerTokenizer, *labels: str, **spec: Any) -> TokenTable:
    """Tokenises a file; the rest of `RowSpec` by name."""
    source = FileSource(path, headerless_label=labels[0] if labels else None)
    return tokenise(source, RowSpec("sequence", labels, **spec), tokenizer, None)


def ids_of(table: TokenTable) -> list[list[int]]:
    """The ids of every row, by the table's own positions."""
    return [table.ids[a : a + n].tolist() for a, n in zip(table.starts, table.lengths, strict=True)]


def expected_ids(tokenizer: KmerTokenizer, sequences: list[str]) -> list[list[int]]:
    """The same, one sequence after the other."""
    return [tokenizer.encode_ids([sequence])[0].tolist() for sequence in sequences]


def ragged(n: int, seed: int = 0, shortest: int = 6, longest: int = 40) -> list[str]:
    """Distinct random sequences of many lengths, some with N."""
    random = np.random.default_rng(seed)
    rows = ("".join(random.choice(list("ACGT" * 12 + "N"), random.integers(shortest, longest))) for _ in range(3 * n))
    return list(dict.fromkeys(rows))[:n]
