"""A convolutional network on one-hot DNA, of the design that won the challenge: the baseline of the convolutional networks.

A stem, four stages and a head, about 1.3 million weights. A stage is an inverted bottleneck (1-wide convolution to four
times the width, 9-wide depthwise convolution, squeeze and excitation, back) whose output is put beside its input, a 9-wide
convolution and a maximum over pairs of positions. AdamW with a one-cycle schedule, squared error, forward strand, the last
epoch; not the winner's soft bins and both strands. Design: Penzar et al. 2023, doi:10.1093/bioinformatics/btad457, with the
widths that its authors took for regulatory DNA of human cells; written anew here. It knows nothing of k-mers and nothing of
this project's scripts.

Reads a table whose rows `train` are fitted and whose rows `validation` are predicted (`--split_column`), and predicts the
rows of `--test_file`, too: tab-separated, with a header, or two bare columns of sequence and value. Writes
validation_predictions.tsv and test_predictions.tsv, `sequence prediction observed` in input order, as the training
script does.

    python -m baselines.legnet --train_file native.tsv --split_column split --output_dir runs/legnet
    python -m baselines.legnet --train_file train.tsv --test_file test.tsv --output_dir runs/legnet --bf16
"""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

LETTERS = "ACGT"
STAGES = (80, 96, 112, 128)
STEM, HEAD = 64, 256


class SqueezeExcitation(nn.Module):
    """Weighs the channels of (n, width, positions) by what their means say."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.Linear(width, width // 4), nn.SiLU(), nn.Linear(width // 4, width), nn.Sigmoid())

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * self.weigh(values.mean(dim=2))[..., None]


class Beside(nn.Module):
    """Puts what a block makes of its input beside the input: (n, width, positions) to (n, 2 * width, positions)."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.cat([values, self.block(values)], dim=1)


def _convolution(width: int, wanted: int, kernel: int, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv1d(width, wanted, kernel, padding=kernel // 2, groups=groups, bias=False)
    nn.init.normal_(convolution.weight, 0, (2 / (kernel * wanted)) ** 0.5)
    return [convolution, nn.BatchNorm1d(wanted), nn.SiLU()]


def build_network() -> nn.Sequential:
    """Returns the network: float (n, 4, positions) to (n, 1)."""
    layers, width = _convolution(4, STEM, 11), STEM
    for wanted in STAGES:
        inner = 4 * width
        block = _convolution(width, inner, 1) + _convolution(inner, inner, 9, groups=inner)
        block += [SqueezeExcitation(inner)] + _convolution(inner, width, 1)
        layers += [Beside(nn.Sequential(*block)), *_convolution(2 * width, wanted, 9), nn.MaxPool1d(2)]
        width = wanted
    layers += [*_convolution(width, HEAD, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(HEAD, HEAD), nn.BatchNorm1d(HEAD), nn.SiLU(), nn.Linear(HEAD, 1))


def encode(sequences: Sequence[str], length: int) -> torch.Tensor:
    """Turns DNA into one-hot rows whose right ends meet, so that the constant bases after the insert stay in place.

    Args:
        sequences: n strings; other letters than ACGT become zeros.
        length: positions of a row; a longer sequence loses its left end, a shorter one gets zeros there.

    Returns:
        int8 (n, 4, length).
    """
    numbers = np.full(256, len(LETTERS), np.uint8)
    numbers[list(LETTERS.encode())] = range(len(LETTERS))
    text = "".join(sequence[-length:].rjust(length, "-") for sequence in sequences)
    codes = numbers[np.frombuffer(text.encode("ascii"), np.uint8)].reshape(-1, length)
    return torch.from_numpy(codes[:, None] == np.arange(len(LETTERS))[:, None]).to(torch.int8)


def train(rows: torch.Tensor, values: np.ndarray, args: argparse.Namespace) -> nn.Sequential:
    """Fits the network to encoded rows and their values, standardised; prints each epoch's loss."""
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network, targets = build_network().to(device), torch.tensor(values, dtype=torch.float32)
    batches = max(len(rows) // args.batch_size, 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=args.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.learning_rate, total_steps=batches * args.epochs)
    for epoch in range(1, args.epochs + 1):
        start, total = time.perf_counter(), 0.0
        for batch in torch.randperm(len(rows))[: batches * args.batch_size].chunk(batches):
            with torch.autocast(device.type, torch.bfloat16, enabled=args.bf16):
                found = network(rows[batch].to(device).float())
            loss = nn.functional.mse_loss(found[:, 0].float(), targets[batch].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch}: loss {total / batches:.4f}, {time.perf_counter() - start:.0f} s", flush=True)
    return network.eval()


@torch.no_grad()
def predict(network: nn.Sequential, rows: torch.Tensor) -> np.ndarray:
    """Returns float64 predictions (n,) in standard deviations."""
    device = next(network.parameters()).device
    found = [network(batch.to(device).float())[:, 0].cpu() for batch in rows.split(512)]
    return torch.cat(found).double().numpy()


def read_table(path: str, args: argparse.Namespace) -> pd.DataFrame:
    """Reads a table; its columns `sequence`, in upper case, and `observed`, float64, are what the command line names.

    Raises:
        ValueError: a column is missing, or a measured value is no finite number.
    """
    options = {"sep": "\t", "keep_default_na": False}
    first = pd.read_csv(path, header=None, nrows=1, **options).iloc[0]
    is_bare = len(first) == 2 and isinstance(first[1], (float, np.floating, int, np.integer))
    names = {"names": [args.sequence_column, args.label_column]} if is_bare else {}
    table = pd.read_csv(path, **names, **options)
    needed = [args.sequence_column, args.label_column]
    if args.split_column and path == args.train_file:
        needed.append(args.split_column)
    for name in needed:
        if name not in table:
            raise ValueError(f"{path}: no column {name!r}; columns found: {', '.join(table)}")
    values = pd.to_numeric(table[args.label_column], errors="coerce").to_numpy(np.float64)
    for row in np.flatnonzero(~np.isfinite(values))[:1]:
        found = table[args.label_column][row]
        raise ValueError(f"{path}, line {row + 2 - is_bare}: {args.label_column} is {found!r}: allowed are numbers")
    return table.assign(sequence=table[args.sequence_column].str.upper(), observed=values)


def write_predictions(path: Path, table: pd.DataFrame, predictions: np.ndarray) -> None:
    """Writes the table that the training script writes, under a temporary name first."""
    found = table[["sequence", "observed"]].assign(prediction=predictions)
    unfinished = path.with_name(f"{path.name}.unfinished")
    found[["sequence", "prediction", "observed"]].to_csv(unfinished, sep="\t", index=False, float_format="%.7g")
    os.replace(unfinished, path)


def run(args: argparse.Namespace) -> None:
    """Trains and predicts what the command line says.

    Raises:
        ValueError: for anything wrong in the data.
    """
    table, predicted = read_table(args.train_file, args), {}
    if args.split_column:
        predicted["validation"] = table[table[args.split_column] == "validation"]
        table = table[table[args.split_column] == "train"]
    if args.test_file:
        predicted["test"] = read_table(args.test_file, args)
    if len(table) < 2 or not any(map(len, predicted.values())):
        raise ValueError(
            f"{args.train_file}: {len(table)} rows to train on, and {sum(map(len, predicted.values()))} to predict: give "
            "--split_column with rows `train` and `validation`, or --test_file"
        )
    length = int(table["sequence"].str.len().max())
    mean, deviation = table["observed"].mean(), table["observed"].std(ddof=0)
    network = train(encode(table["sequence"], length), (table["observed"] - mean) / deviation, args)
    Path(args.output_dir).mkdir(parents=True, exist_ok=True)
    for name, rows in predicted.items():
        found = predict(network, encode(rows["sequence"], length)) * deviation + mean
        write_predictions(Path(args.output_dir) / f"{name}_predictions.tsv", rows, found)
        print(f"{name}: r {np.corrcoef(found, rows['observed'])[0, 1]:.4f}, {len(rows)} rows")


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train_file", required=True, help="Tab-separated table of sequences and measured values.")
    parser.add_argument("--test_file", help="Rows to predict, same format.")
    parser.add_argument("--split_column", default="", help="Column of --train_file: train or validation for each row.")
    parser.add_argument("--sequence_column", default="sequence", help="Column with the DNA (default: sequence).")
    parser.add_argument("--label_column", default="expression", help="Column with the value (default: expression).")
    parser.add_argument("--epochs", type=int, default=12, help="Passes over the training rows (default: 12).")
    parser.add_argument("--batch_size", type=int, default=256, help="Rows in a batch (default: 256).")
    parser.add_argument("--learning_rate", type=float, default=0.005, help="Highest learning rate (default: 0.005).")
    parser.add_argument("--seed", type=int, default=0, help="Seed of weights and order (default: 0).")
    parser.add_argument("--bf16", action="store_true", help="Compute in bfloat16 (torch.autocast).")
    parser.add_argument("--output_dir", required=True, help="Folder for the predictions.")
    args = parser.parse_args(argv)
    try:
        run(args)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
