"""A convolutional network on one-hot DNA, of the design that won the challenge: the baseline of the convolutional networks.

A stem, four stages and a head, about 1.3 million weights. A stage is an inverted bottleneck (1-wide convolution to four
times the width, 9-wide depthwise convolution, squeeze and excitation, back) whose output is concatenated with its input, a
9-wide convolution and a maximum over pairs of positions. AdamW with a one-cycle schedule, squared error, forward strand,
the weights of the last epoch; not the winner's soft bins and both strands. Design: Penzar et al. 2023,
doi:10.1093/bioinformatics/btad457, with the widths that its authors used for regulatory DNA of human cells; reimplemented
here. The network knows nothing of k-mers and nothing of this project.

Rows `train` are fitted and rows `validation` predicted (`--split_column`), and so are the rows of `--test_file`. Writes
validation_predictions.tsv and test_predictions.tsv, in the order of the input, as run_finetune_regression.py does.

    python -m baselines.legnet --train_file native.tsv --split_column split --output_dir runs/legnet
    python -m baselines.legnet --train_file train.tsv --test_file test.tsv --output_dir runs/legnet --bf16
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from baselines.tables import add_flags, check_predictions_file, letters, read_splits, write_rows
from kmerbert.cli.programs import ProgramParser
from kmerbert.cli.run import run

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


class Concatenation(nn.Module):
    """Concatenates the output of a block with its input: (n, width, positions) to (n, 2 * width, positions)."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.cat([values, self.block(values)], dim=1)


def _convolution(width: int, new_width: int, kernel: int, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv1d(width, new_width, kernel, padding=kernel // 2, groups=groups, bias=False)
    nn.init.normal_(convolution.weight, 0, (2 / (kernel * new_width)) ** 0.5)
    return [convolution, nn.BatchNorm1d(new_width), nn.SiLU()]


def build_network() -> nn.Sequential:
    """Returns the network: float (n, 4, positions) to (n, 1)."""
    layers, width = _convolution(4, STEM, 11), STEM
    for new_width in STAGES:
        inner = 4 * width
        block = _convolution(width, inner, 1) + _convolution(inner, inner, 9, groups=inner)
        block += [SqueezeExcitation(inner)] + _convolution(inner, width, 1)
        layers += [Concatenation(nn.Sequential(*block)), *_convolution(2 * width, new_width, 9), nn.MaxPool1d(2)]
        width = new_width
    layers += [*_convolution(width, HEAD, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(HEAD, HEAD), nn.BatchNorm1d(HEAD), nn.SiLU(), nn.Linear(HEAD, 1))


def encode(sequences: Sequence[str], length: int) -> torch.Tensor:
    """Turns DNA into one-hot rows that are aligned at their right ends, so that the bases after the insert stay in place.

    Args:
        sequences: n strings in upper case; other letters than ACGT become zeros.
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
                outputs = network(rows[batch].to(device).float())
            loss = nn.functional.mse_loss(outputs[:, 0].float(), targets[batch].to(device))
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
    outputs = [network(batch.to(device).float())[:, 0].cpu() for batch in rows.split(512)]
    return torch.cat(outputs).double().numpy()


def fit_and_predict(args: argparse.Namespace) -> None:
    """Trains and predicts as the command line says.

    Raises:
        ValueError: Anything is wrong in the data.
    """
    rows, predicted = read_splits(args)
    if len(rows) < 2:
        raise ValueError(f"{args.train_file}: one row to train on: at least 2 are needed")
    folder = Path(args.output_dir)
    for name in predicted:
        check_predictions_file(folder / f"{name}_predictions.tsv", args)
    length = int(rows["sequence"].str.len().max())
    mean, deviation = rows["observed"].mean(), rows["observed"].std(ddof=0)
    network = train(encode(letters(rows), length), (rows["observed"] - mean) / deviation, args)
    for name, others in predicted.items():
        predictions = predict(network, encode(letters(others), length)) * deviation + mean
        write_rows(folder / f"{name}_predictions.tsv", others, predictions)
        r = f"r {np.corrcoef(predictions, others['observed'])[0, 1]:.4f}, " if "observed" in others else ""
        print(f"{name}: {r}{len(others)} rows")


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the program."""
    parser = ProgramParser(__doc__)
    add_flags(parser)
    parser.add_argument("--epochs", type=int, default=12, help="Passes over the training rows (default: 12).")
    parser.add_argument("--batch_size", type=int, default=256, help="Rows in a batch (default: 256).")
    parser.add_argument("--learning_rate", type=float, default=0.005, help="Highest learning rate (default: 0.005).")
    parser.add_argument("--seed", type=int, default=0, help="Seed of weights and order (default: 0).")
    parser.add_argument("--bf16", action="store_true", help="Compute in bfloat16 (torch.autocast).")
    parser.add_argument("--output_dir", required=True, help="Folder for the predictions.")
    fit_and_predict(parser.parse_args(argv))


if __name__ == "__main__":
    run(main, "not all predictions were written")
