"""Practice data and flags for training runs that take a second or two on one core."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

MOTIF = "GATAAG"
NETWORK = "hidden_size=32,num_hidden_layers=1,num_attention_heads=2,intermediate_size=64,max_position_embeddings=64"
NO_DROPOUT = ",hidden_dropout_prob=0.0,attention_probs_dropout_prob=0.0"


def random_dna(random: np.random.Generator, n: int, n_bases: int = 24) -> list[str]:
    """n random sequences of n_bases letters."""
    return ["".join(row) for row in random.choice(list("ACGT"), (n, n_bases))]


def planted(random: np.random.Generator, n: int, n_bases: int = 24) -> tuple[list[str], np.ndarray]:
    """Random DNA, half of it with MOTIF at a random place, and values that the motif raises from 8.5 to 13.5."""
    has_motif = random.random(n) < 0.5
    sequences = random_dna(random, n, n_bases)
    for row in np.flatnonzero(has_motif):
        start = random.integers(0, n_bases - len(MOTIF) + 1)
        sequences[row] = sequences[row][:start] + MOTIF + sequences[row][start + len(MOTIF) :]
    return sequences, np.where(has_motif, 13.5, 8.5) + random.normal(0, 0.5, n)


def write_table(path: Path, **columns: Sequence[object]) -> Path:
    """Writes columns of equal length as TSV."""
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return path


def planted_table(path: Path, n: int = 120, seed: int = 0) -> Path:
    """Writes n rows of `planted` as TSV."""
    sequences, values = planted(np.random.default_rng(seed), n)
    return write_table(path, sequence=sequences, expression=np.round(values, 4))


def flags(train_file: Path, folder: Path, **settings: object) -> list[str]:
    """A command line that trains a tiny network on k-mers of 3; settings replace or add to the defaults."""
    given = {
        "train_file": train_file,
        "output_dir": folder,
        "token_cache_dir": folder.parent / "token_cache",
        "per_device_train_batch_size": 16,
        "learning_rate": 3e-3,
        "num_train_epochs": 1,
        "disable_tqdm": True,
    } | settings
    if "model_name_or_path" not in given:
        given = {
            "k": 3,
            **({} if "model_type" in given else {"model_type": "bert"}),
            "config_overrides": NETWORK,
        } | given
    return [f"--{name}={value}" for name, value in given.items()]


def card_example(folder: Path) -> dict[str, Any]:
    """Runs the example of the model card in a folder as somebody who copies it; returns what its names stand for."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace(f'"{folder.name}"', repr(str(folder))), names)
    return names


def make_batch(tokenizer: Any, sequences: list[str], epoch: int = 0, first_row: int = 0) -> dict[str, Any]:
    """The batch that TokenDataset gives for these sequences."""
    ids = tokenizer.encode_ids(sequences)
    batch = {"input_ids": ids, "row": np.arange(first_row, first_row + len(ids)), "epoch": epoch}
    n_tokens = 2 + tokenizer.n_tokens(np.array([len(sequence) for sequence in sequences]))
    if len(set(n_tokens)) > 1:
        batch["attention_mask"] = (np.arange(ids.shape[1]) < n_tokens[:, None]).astype(np.int8)
    return batch


def ragged_dna(seed: int = 0, n: int = 60) -> list[str]:
    """Rows of 20 to 70 bases, every third with an N."""
    random = np.random.default_rng(seed)
    sequences = [row[: random.integers(20, 71)] for row in random_dna(random, n, 70)]
    return [row[:12] + "N" + row[13:] if number % 3 == 0 else row for number, row in enumerate(sequences)]


def bases_of(token: int, tokenizer: Any) -> range:
    """Bases that the token at this position of a row spells; position 0 is [CLS]."""
    return range((token - 1) * tokenizer.stride, (token - 1) * tokenizer.stride + tokenizer.k)
