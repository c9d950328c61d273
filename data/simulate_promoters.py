"""Simulate practice data, free of any licence, that behaves like a promoter reporter assay.

Two kinds of file: random promoters with noisy expression labels (cells sorted into fluorescence bins 0 to 17, as in
Rafi et al. 2024, doi:10.1038/s41587-024-02414-w), and unlabelled upstream DNA for masked-language-model pretraining.
The consensus sequences (IUPAC letters) follow these compendia: Harbison et al. 2004, doi:10.1038/nature02800;
MacIsaac et al. 2006, doi:10.1186/1471-2105-7-113; Badis et al. 2008, doi:10.1016/j.molcel.2008.11.020; the TATA box is
that of Basehoar et al. 2004, doi:10.1016/s0092-8674(04)00205-3. Strengths, strand and position preferences are
invented: a model trained on these files says nothing about yeast.

With one version of numpy, a seed always gives the same bytes; a file of n rows is the start of every longer file.
"""

import argparse
import gzip
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a program, it finds only its own folder
from kmerbert.cli.programs import ProgramParser
from kmerbert.cli.run import run
from kmerbert.files import whole_file

FLANK_5, FLANK_3 = "TGCATTTTTTTCACATC", "GGTTACGGCTGTT"
LENGTHS, LENGTH_SHARES = (110, 109, 108, 107, 106, 111), (0.820, 0.127, 0.024, 0.008, 0.005, 0.005)  # bp
RARE_LENGTHS, MAX_LENGTH = [*range(87, 106), *range(98, 106), *range(112, 136)], 135  # the remaining 1.1 % of the rows
PROMOTER_CHUNK, UPSTREAM_CHUNK = 4096, 256  # rows that share one random stream; changing it changes the files
DEFAULT_MEAN_READS = 1.76  # gives about 58 % integer labels
MAX_MEAN_READS = 1000.0  # bounds the memory of a chunk
READ_NOISE_SD = 1.8  # bins
# Cells per sequenced read differ between sorted bins, so a mean over bins is weighted and rarely a simple fraction.
BIN_WEIGHTS = np.array([9, 11, 8, 10, 12, 9, 10, 11, 8.7, 10.4, 9.2, 11.3, 9.6, 10.8, 8.9, 10.1, 11.6, 9.4]) / 10
LOWEST, HIGHEST = 4.7, 15.6  # bins at which the latent expression saturates
BASELINE, GC_EFFECT = -0.11, 4.7  # logit units at 50 % GC; logit units per unit of GC fraction
CORE, CORE_EFFECT = slice(-48, -13), 3.0  # the last variable bases; logit units per unit of A minus T share
MISMATCH_AFFINITY = 0.07  # of a site with one mismatch (consensus: 1)
HELIX = 10.5  # base pairs per turn of B-DNA
BASE_BITS = dict(zip("ACMGRSVTWYHKDBN", range(1, 16), strict=True))  # one bit for each of A, C, G, T
COMPLEMENT = str.maketrans("ACGTRYKMBDHV", "TGCAYRMKVHDB")


class Motif(NamedTuple):
    """A binding site; the effect is in logit units, distances from the site's end to the 3' end are in bp."""

    name: str
    consensus: str
    effect: float
    minus_strand: float  # weight of a site on the minus strand; 0 for a palindrome, so that it counts once
    distance: float
    spread: float
    helical: float  # depth of the modulation by helical phase, 0 to 1


MOTIFS = (
    Motif("Reb1", "TTACCCG", 1.3, 1.0, 60, 33, 0.0),
    Motif("Rap1", "CACCCRYACA", 1.3, 0.5, 65, 28, 0.3),
    Motif("Abf1", "RTCRYNNNNNACG", 1.2, 0.9, 60, 33, 0.3),
    Motif("Gcn4", "TGASTCA", 1.2, 0.0, 45, 28, 0.5),
    Motif("Pho4/Cbf1", "CACGTG", 0.8, 0.0, 45, 28, 0.5),
    Motif("Mcm1", "CCYWWWNNRG", 0.4, 0.8, 50, 28, 0.3),
    Motif("Msn2/4 (STRE)", "AGGGG", 0.5, 0.6, 55, 33, 0.4),
    Motif("Hsf1", "TTCNNGAA", 0.6, 0.0, 60, 33, 0.4),
    Motif("Rsc3", "CGCGC", 0.6, 0.8, 50, 33, 0.0),
    Motif("Swi4 (SCB)", "CACGAAA", 0.8, 0.6, 50, 28, 0.4),
    Motif("Mbp1 (MCB)", "ACGCGT", 0.7, 0.0, 50, 28, 0.0),
    Motif("Rpn4", "GGTGGCAAA", 1.2, 0.5, 55, 28, 0.0),
    Motif("Sko1", "TGACGTCA", -0.8, 0.0, 45, 33, 0.3),
    Motif("Ume6 (URS1)", "TAGCCGCC", -1.5, 1.0, 50, 44, 0.0),
    Motif("Mig1", "WWWWSYGGGG", -1.3, 0.8, 55, 44, 0.0),
    Motif("Rox1", "YYNATTGTTY", -1.0, 0.8, 50, 44, 0.0),
    Motif("TATA box", "TATAWAWR", 1.0, 0.4, 38, 16, 0.0),
    Motif("poly-dA:dT", "AAAAAAA", 0.7, 0.5, 45, 38, 0.0),
)
# Upstream site, downstream site, effect in logit units when in phase, shortest and longest distance of the starts (bp).
PAIRS = (("Msn2/4 (STRE)", "Pho4/Cbf1", 2.0, 8, 40), ("Rsc3", "TATA box", 2.0, 10, 45))


def _site_affinities(bases: np.ndarray, consensus: str) -> np.ndarray:
    """Return the affinity (1 = consensus) at each start: uint8 bits (width, rows) to float32 (starts, rows)."""
    letters = [(i, np.uint8(BASE_BITS[letter])) for i, letter in enumerate(consensus) if letter != "N"]
    n_starts = len(bases) - len(consensus) + 1
    matches = np.zeros((n_starts, bases.shape[1]), dtype=np.uint8)
    for i, bits in letters:
        matches += (bases[i : i + n_starts] & bits) != 0
    affinity_of_matches = np.zeros(len(letters) + 1, dtype=np.float32)
    affinity_of_matches[-2:] = MISMATCH_AFFINITY, 1.0
    return affinity_of_matches[matches]


def _latent(bases: np.ndarray) -> np.ndarray:
    """Return the noise-free expression (bins), float64 (rows,), of uint8 bits (width, rows) aligned at the 3' end."""
    gc = ((bases & BASE_BITS["S"]) != 0).sum(axis=0) / np.maximum((bases != 0).sum(axis=0), 1)
    skew = (bases[CORE] == BASE_BITS["A"]).mean(axis=0) - (bases[CORE] == BASE_BITS["T"]).mean(axis=0)
    total = BASELINE + GC_EFFECT * (gc - 0.5) + CORE_EFFECT * skew
    affinities = {}
    for motif in MOTIFS:
        affinity = _site_affinities(bases, motif.consensus)
        if motif.minus_strand:
            affinity += motif.minus_strand * _site_affinities(bases, motif.consensus.translate(COMPLEMENT)[::-1])
        offset = np.arange(len(affinity))[::-1] - motif.distance  # a site at the last start ends at the 3' end
        helical = 1 + motif.helical * (np.cos(2 * np.pi * offset / HELIX) - 1) / 2
        bound = (np.exp(-0.5 * (offset / motif.spread) ** 2) * helical).astype(np.float32) @ affinity
        total += motif.effect * 1.5 * bound / (0.5 + bound)  # each further site adds less than the one before
        affinities[motif.name] = affinity
    for upstream, downstream, effect, shortest, longest in PAIRS:
        for distance in range(shortest, longest + 1):
            second = affinities[downstream][distance:]
            both = np.einsum("ij,ij->j", affinities[upstream][: len(second)], second[: len(affinities[upstream])])
            total += effect * both * (1 + math.cos(2 * math.pi * distance / HELIX)) / 2
    return LOWEST + (HIGHEST - LOWEST) / (1 + np.exp(-total))


def latent_expression(sequences: Sequence[str]) -> np.ndarray:
    """Return what the assay would measure without noise.

    Args:
        sequences: DNA in either case, of any length; a letter other than A, C, G or T never matches a site.

    Returns:
        Float64 array (len(sequences),), in bins (0 to 17).
    """
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    width = max(MAX_LENGTH, lengths.max(initial=0))
    bits_of_byte = np.zeros(256, dtype=np.uint8)
    bits_of_byte[np.frombuffer(b"ACGTacgt", dtype=np.uint8)] = [1, 2, 4, 8] * 2
    text = np.frombuffer("".join(sequences).encode("ascii", "replace"), dtype=np.uint8)
    bases = np.zeros((len(sequences), width), dtype=np.uint8)
    bases[np.arange(width) >= width - lengths[:, None]] = bits_of_byte[text]
    return _latent(np.ascontiguousarray(bases.T))


def measure(latent: np.ndarray, rng: np.random.Generator, mean_reads: float = DEFAULT_MEAN_READS) -> np.ndarray:
    """Return noisy labels: the weighted mean bin over the reads of each sequence.

    Args:
        latent: Noise-free expression in bins, float64 (rows,).
        rng: Source of the noise.
        mean_reads: Mean number of reads per sequence, at least 1; a single read gives an integer label.

    Returns:
        Float64 array (rows,), in bins (0 to 17), rounded to 7 decimals.
    """
    n_reads = 1 + rng.poisson(rng.gamma(2.0, (mean_reads - 1) / 2.0, len(latent)))  # depth varies between molecules
    reads = np.repeat(latent, n_reads) + rng.normal(0.0, READ_NOISE_SD, n_reads.sum())
    bins = np.clip(np.rint(reads), 0, len(BIN_WEIGHTS) - 1)
    weights = BIN_WEIGHTS[bins.astype(np.intp)]
    starts = np.cumsum(n_reads) - n_reads
    return np.round(np.add.reduceat(weights * bins, starts) / np.add.reduceat(weights, starts), 7)


def _random_promoters(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return one chunk: bits uint8 (MAX_LENGTH, rows) aligned at the 3' end, zero before each start; starts (rows,)."""
    rare = rng.random(PROMOTER_CHUNK) < 1 - sum(LENGTH_SHARES)
    common = rng.choice(LENGTHS, PROMOTER_CHUNK, p=np.array(LENGTH_SHARES) / sum(LENGTH_SHARES))
    starts = MAX_LENGTH - np.where(rare, rng.choice(RARE_LENGTHS, PROMOTER_CHUNK), common)
    # Base composition varies more between real molecules than independent draws of bases would make it.
    gc = np.clip(rng.normal(0.478, 0.06, PROMOTER_CHUNK), 0.1, 0.9).astype(np.float32)
    draws = rng.random((MAX_LENGTH, PROMOTER_CHUNK), dtype=np.float32)
    bases = np.ones((MAX_LENGTH, PROMOTER_CHUNK), dtype=np.uint8)
    for share in (0.43 * (1 - gc), 0.43 * (1 - gc) + 0.41 * gc, 0.43 + 0.57 * gc):  # A, then C, then G, then T
        bases <<= draws > share
    bases[-len(FLANK_3) :] = np.array([BASE_BITS[base] for base in FLANK_3], dtype=np.uint8)[:, None]
    for i, base in enumerate(FLANK_5):
        bases[starts + i, np.arange(PROMOTER_CHUNK)] = BASE_BITS[base]
    bases[np.arange(MAX_LENGTH)[:, None] < starts] = 0
    return bases, starts


def _hide_unread_bases(bases: np.ndarray, rng: np.random.Generator) -> None:
    """Set bits to N (0) where sequencing reads end early: in 0.4 % of the rows, near the 3' end, with a few gaps."""
    for row in np.flatnonzero(rng.random(PROMOTER_CHUNK) < 0.004):
        length = int(rng.integers(12, 25))
        first = MAX_LENGTH - len(FLANK_3) - int(rng.integers(length, 27))
        bases[first : first + length, row][rng.random(length) < 0.85] = 0


def simulate_promoters(
    n_rows: int, seed: int = 0, mean_reads: float = DEFAULT_MEAN_READS
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yield random promoters and their labels in chunks.

    The number of reads changes only the labels, so a test set needs a different seed from its training set.

    Args:
        n_rows: Number of promoters.
        seed: Seed of the file, at least 0.
        mean_reads: Mean reads per promoter, at least 1; 100 gives nearly noise-free labels.

    Yields:
        Promoters (list of str) and labels (float64 of the same length, bins 0 to 17).
    """
    letters = np.frombuffer(b"NACNGNNNT", dtype=np.uint8)
    for first in range(0, n_rows, PROMOTER_CHUNK):
        rng = np.random.default_rng([seed, 0, first])
        bases, starts = _random_promoters(rng)
        labels = measure(_latent(bases), np.random.default_rng([seed, 1, first]), mean_reads)
        _hide_unread_bases(bases, rng)  # after the measurement: a base that was not sequenced still acts
        text = letters[bases.T[np.arange(MAX_LENGTH) >= starts[:, None]]].tobytes().decode()
        ends = np.cumsum(MAX_LENGTH - starts)[: n_rows - first].tolist()
        yield [text[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)], labels[: len(ends)]


def _background(rng: np.random.Generator, length: int) -> np.ndarray:
    """Return letters, str (length, rows), of a strand-symmetric first-order Markov chain with 63 % A or T."""
    joint = np.array([[118, 53, 58, 90], [60, 35, 30, 58], [56, 38, 35, 53], [85, 56, 60, 118]])
    cumulative = np.cumsum(joint / joint.sum(axis=1, keepdims=True), axis=1)[:, :3]
    codes = rng.integers(0, 4, (length, UPSTREAM_CHUNK))
    for i in range(1, length):
        codes[i] = (rng.random((UPSTREAM_CHUNK, 1)) > cumulative[codes[i - 1]]).sum(axis=1)
    return np.array(list("ACGT"))[codes]


def _decorate(fragment: list[str], families: Sequence[list[str]], rng: np.random.Generator) -> str:
    """Add poly-dA:dT tracts, clustered binding sites and, in half of the fragments, a diverged copy of a repeat."""
    length = len(fragment)
    # DNA, probability of the plus strand, start.
    elements = [("A" * rng.integers(8, 22), 0.5, rng.integers(length)) for _ in range(rng.poisson(length / 1000))]
    if rng.random() < 0.5:
        copy = np.array(families[rng.integers(len(families))])
        changed = rng.random(len(copy)) < rng.uniform(0.03, 0.2)
        copy[changed] = rng.choice(list("ACGT"), changed.sum())
        elements.append(("".join(copy), 0.5, rng.integers(length)))
    for _ in range(1 + rng.poisson(3)):  # sites cluster 50 to 250 bp upstream of the gene
        motif = MOTIFS[rng.integers(len(MOTIFS))]
        site = "".join(rng.choice([b for b in "ACGT" if BASE_BITS[b] & BASE_BITS[i]]) for i in motif.consensus)
        elements.append((site, 1 / (1 + motif.minus_strand), length - rng.normal(150, 50)))
    for element, plus, start in elements:
        start = int(np.clip(start, 0, length - len(element)))
        fragment[start : start + len(element)] = element if rng.random() < plus else element.translate(COMPLEMENT)[::-1]
    return "".join(fragment)


def simulate_upstream(n_rows: int, seed: int = 0) -> Iterator[list[str]]:
    """Yield native-like upstream DNA (200 to 800 bp, 5' to 3', the gene downstream) as lists of str in chunks.

    Args:
        n_rows: Number of fragments.
        seed: Seed of the file, at least 0; the repeat families are the same for every seed.
    """
    families = [list(column) for column in _background(np.random.default_rng(0), 120).T[:40]]
    for first in range(0, n_rows, UPSTREAM_CHUNK):
        rng = np.random.default_rng([seed, 2, first])
        lengths = rng.integers(200, 801, UPSTREAM_CHUNK)[: n_rows - first]
        columns = _background(rng, 800).T
        yield [_decorate(columns[row, :length].tolist(), families, rng) for row, length in enumerate(lengths)]


@contextmanager
def _new_file(path: Path, overwrite: bool) -> Iterator[BinaryIO]:
    """Open a temporary file next to path for writing; it is renamed to path only if the block ends without an error."""
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(
            f"{path} is a folder, or its folder does not exist: give --output_file as a file in an existing folder"
        )
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists ({path.stat().st_size} bytes): give another --output_file or add --overwrite")
    compressed = path.suffix == ".gz"  # the gzip header gets no name and no time: the same rows give the same bytes
    with (
        whole_file(path) as partial,
        open(partial, "wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) if compressed else raw as file,
    ):
        yield file


def _text_chunks(args: argparse.Namespace) -> Iterator[str]:
    if args.kind == "upstream":
        yield from ("\n".join([*fragments, ""]) for fragments in simulate_upstream(args.rows, args.seed))
    else:
        yield "sequence\texpression\n" if args.header else ""
        for rows in simulate_promoters(args.rows, args.seed, args.mean_reads):
            yield "".join(f"{sequence}\t{label:.10g}\n" for sequence, label in zip(*rows, strict=True))


def main(argv: Sequence[str] | None = None) -> dict[str, int | str]:
    """Write the simulated file; return its path and number of rows."""
    parser = ProgramParser("Simulate practice data that behaves like a promoter reporter assay.")
    add = parser.add_argument
    add("--rows", type=int, required=True, help="number of sequences")
    add("--output_file", required=True, help="file to write; gzip-compressed if the name ends in .gz")
    add(
        "--kind",
        choices=["promoters", "upstream"],
        default="promoters",
        help="labelled promoters, or unlabelled upstream DNA, one fragment per line",
    )
    add("--seed", type=int, default=0, help="same seed, same file; a test set needs a different seed (default 0)")
    reads = f"mean reads per promoter, 1 to {MAX_MEAN_READS:g} (default %(default)s; 100: almost no noise)"
    add("--mean_reads", type=float, default=DEFAULT_MEAN_READS, help=reads)
    add("--header", action="store_true", help="start with the column names; expression is the mean bin, 0 to 17")
    add("--overwrite", action="store_true", help="replace an existing output file")
    args = parser.parse_args(argv)
    if args.rows < 1 or args.seed < 0 or not 1 <= args.mean_reads <= MAX_MEAN_READS:
        given = f"--rows {args.rows} --seed {args.seed} --mean_reads {args.mean_reads:g}"
        raise ValueError(f"{given}: rows must be at least 1, the seed at least 0, mean reads 1 to {MAX_MEAN_READS:g}")
    if args.kind == "upstream" and (args.header or args.mean_reads != DEFAULT_MEAN_READS):
        raise ValueError("--kind upstream has no columns and no labels: leave out --header and --mean_reads")
    with _new_file(Path(args.output_file), args.overwrite) as file:
        file.writelines(text.encode() for text in _text_chunks(args))
    return {"output_file": args.output_file, "rows": args.rows}


if __name__ == "__main__":
    run(lambda: print(main()), "no file was written")
