"""What a masked language model has to predict: which k-mers are hidden.

Neighbouring k-mers of stride 1 share k-1 bases, so hiding one token hides nothing: its neighbours spell it. `NucleotideMasking`
therefore chooses bases and masks every token that spells one of them. `TokenMasking` is DNABERT's own scheme
(doi:10.1093/bioinformatics/btab083). Both are collators whose random numbers depend on (seed, epoch, row, position)
alone: a row is masked the same in whatever batch, process or resumed run it comes.
"""

import logging
from typing import Any

import numpy as np
import torch

from kmerbert.tokens.targets import IGNORED
from tokenization_kmer import N_ADDED, N_SPECIAL, KmerTokenizer

logger = logging.getLogger(__name__)


def _mix(state: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (doi:10.1145/2660193.2660195): uint64 in, well-mixed uint64 out."""
    state = state ^ (state >> np.uint64(30))  # one new array, then in place: this is bound by memory
    state *= np.uint64(0xBF58476D1CE4E5B9)
    state ^= state >> np.uint64(27)
    state *= np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return state


def uniform(key: tuple[int, ...], rows: np.ndarray, n_positions: int) -> np.ndarray:
    """Random numbers that depend on where they are used, not on when they are drawn.

    Args:
        key: Whole numbers that name the draw (seed, epoch, purpose).
        rows: int64 array (n,), row numbers.
        n_positions: Random numbers for each row.

    Returns:
        float64 array (n, n_positions), uniform on [0, 1).
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        state = golden[None]
        for part in key:
            state = _mix(state + np.uint64(part) * golden + golden)
        state = _mix(state + rows.astype(np.uint64) * golden)
        positions = np.arange(1, n_positions + 1, dtype=np.uint64) * golden
        return (_mix(state[:, None] + positions) >> np.uint64(11)) * 2.0**-53


def parse_region(text: str | None) -> slice:
    """Reads START:END, 0-based, END excluded; a side may be empty, or negative to count from the right end.

    Raises:
        ValueError: The text is anything else.

    >>> parse_region("17:-13")
    slice(17, -13, None)
    """
    try:
        start, end = (int(part) if part.strip() else None for part in (text or ":").split(":"))
    except ValueError:
        raise ValueError(f"`mask_region` {text!r}: allowed is START:END in bases, such as 17:-13 or 17:97") from None
    return slice(start, end)


class Masking:
    """What both schemes share: where tokens and bases are, and how a batch becomes tensors."""

    def __init__(self, tokenizer: KmerTokenizer, region: str | None, seed: int) -> None:
        self.k, self.stride = tokenizer.k, tokenizer.stride
        self.mask_id, self.n_ids = tokenizer.mask_token_id, len(tokenizer)
        self.region, self.seed = parse_region(region), seed
        self.region_text, self.shortest_region = region, 1

    def __call__(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Masks a batch.

        Args:
            batch: `input_ids` int (n, longest), each row [CLS], k-mers, [SEP], padding; `attention_mask` (n, longest)
                if rows differ in length; `row` int64 (n,); `epoch`.

        Returns:
            int64 tensors (n, longest): `input_ids`, `labels` with `IGNORED` where nothing is to be predicted, and
            `attention_mask` if there was one; and `masked`, int64 (tokens to be predicted,), their positions in the
            flattened `labels`.
        """
        ids = batch["input_ids"].astype(np.int64)
        attention = batch.get("attention_mask")
        n_tokens = np.full(len(ids), ids.shape[1]) if attention is None else attention.sum(axis=1)
        n_kmers = n_tokens - N_ADDED
        inputs, labels = self.mask(ids, n_kmers, batch["row"], int(batch["epoch"]))
        tensors = {"input_ids": inputs, "labels": labels, "masked": np.flatnonzero(labels != IGNORED)}
        if attention is not None:
            tensors["attention_mask"] = attention.astype(np.int64)
        return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in tensors.items()}

    def _allowed_bases(self, n_kmers: np.ndarray, n_bases: int) -> np.ndarray:
        """bool array (n, n_bases): bases that k-mers spell and that lie in the region."""
        covered = (n_kmers - 1) * self.stride + self.k
        lengths, which = np.unique(covered, return_inverse=True)  # a batch has few lengths, often only one
        start, end, _ = np.array([self.region.indices(int(n)) for n in lengths]).T
        positions = np.arange(n_bases)
        return ((positions >= start[:, None]) & (positions < end[:, None]))[which]

    def check_length(self, n_bases: int) -> None:
        """Raises ValueError for a region in which sequences of `n_bases` bases have nothing to hide."""
        start, end, _ = self.region.indices(n_bases)
        if end - start < self.shortest_region:
            raise ValueError(
                f"`mask_region` {self.region_text!r}: nothing can be hidden there in sequences of {n_bases} bases: it must "
                f"cover {self.shortest_region} or more of them"
            )

    def mask(self, ids: np.ndarray, n_kmers: np.ndarray, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Masks rows of int64 ids (n, longest) with that many k-mers each; returns the inputs and the labels."""
        raise NotImplementedError


class NucleotideMasking(Masking):
    """Hides chosen bases by masking every token that spells one of them; no hidden base can be read off a neighbour.

    Args:
        tokenizer: The k-mer vocabulary.
        probability: Expected share of the region's bases that are hidden.
        span_length: Neighbouring bases that are hidden together.
        region: Bases that may be hidden, START:END; counted over the bases that tokens cover.
        seed: Of all random numbers.
    """

    def __init__(
        self,
        tokenizer: KmerTokenizer,
        probability: float = 0.15,
        span_length: int = 6,
        region: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(tokenizer, region, seed)
        # A base is hidden if a span begins at it or at one of the span_length - 1 bases before it.
        self.start_probability = 1 - (1 - probability) ** (1 / span_length)
        self.span_length = span_length

    def hidden_bases(self, n_kmers: np.ndarray, rows: np.ndarray, epoch: int) -> np.ndarray:
        """Draws the bases to hide: bool array (n, bases of the longest row)."""
        n_bases = int((n_kmers.max() - 1) * self.stride + self.k)
        before = self.span_length - 1
        starts = uniform((self.seed, epoch, 0), rows, n_bases + before) < self.start_probability
        # Running count: a span covers base b when it began in [b, b + before] of the widened array.
        count = np.pad(np.cumsum(starts, axis=1), ((0, 0), (1, 0)))
        return (count[:, self.span_length :] > count[:, : -self.span_length]) & self._allowed_bases(n_kmers, n_bases)

    def mask(self, ids: np.ndarray, n_kmers: np.ndarray, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        count = np.pad(np.cumsum(self.hidden_bases(n_kmers, rows, epoch), axis=1), ((0, 0), (1, 0)))
        first = np.arange(n_kmers.max()) * self.stride
        masked = np.zeros(ids.shape, bool)
        masked[:, 1 : 1 + len(first)] = count[:, first + self.k] > count[:, first]
        masked &= np.arange(ids.shape[1]) <= n_kmers[:, None]
        labels = np.where(masked & (ids >= N_SPECIAL), ids, IGNORED)
        return np.where(masked, self.mask_id, ids), labels


class TokenMasking(Masking):
    """DNABERT's scheme: around each drawn token a span of k tokens; of these 80 % [MASK], 10 % random, 10 % unchanged.

    The three-way draw is per token and not per span, and a random id comes from the whole vocabulary, special tokens
    included, as in DNABERT's program. With stride 1 a span of k tokens hides one base; a kept token shows it. Spans of one
    token are BERT's own scheme (doi:10.18653/v1/N19-1423), for k-mers that do not overlap.

    Args:
        tokenizer: The k-mer vocabulary.
        probability: That a token is the centre of a span; DNABERT's value for k = 6 is 0.025.
        region: Only tokens that lie in these bases are centres or are masked, START:END.
        span: Tokens that are masked together; None for k.
        seed: Of all random numbers.
    """

    def __init__(
        self,
        tokenizer: KmerTokenizer,
        probability: float = 0.025,
        region: str | None = None,
        seed: int = 0,
        span: int | None = None,
    ) -> None:
        super().__init__(tokenizer, region, seed)
        self.probability, self.shortest_region = probability, self.k
        if span == 1 and self.stride < self.k:
            logger.warning(
                "`masking` tokens: %d-mers that begin every %d bases overlap, so the neighbours of a hidden one spell it and "
                "there is little to learn: use `masking` bases, or `stride` %d",
                *(self.k, self.stride, self.k),
            )
        # k = 6: two tokens before the centre and three after it; k = 3: one and one.
        self.before, self.after = ((span or self.k) - 1) // 2, (span or self.k) // 2

    def mask(self, ids: np.ndarray, n_kmers: np.ndarray, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        n_tokens = ids.shape[1]
        widest = int(n_kmers.max())
        allowed = self._allowed_bases(n_kmers, (widest - 1) * self.stride + self.k)
        first = np.arange(widest) * self.stride
        is_allowed = np.zeros(ids.shape, bool)
        is_allowed[:, 1 : 1 + widest] = allowed[:, first] & allowed[:, first + self.k - 1]
        centres = is_allowed & (uniform((self.seed, epoch, 1), rows, n_tokens) < self.probability)
        masked = np.zeros(ids.shape, bool)
        for offset in range(-self.before, self.after + 1):
            shifted = np.zeros(ids.shape, bool)
            source = centres[:, max(0, -offset) : n_tokens - max(0, offset)]
            shifted[:, max(0, offset) : n_tokens - max(0, -offset)] = source
            masked |= shifted
        masked &= is_allowed
        fate = uniform((self.seed, epoch, 2), rows, n_tokens)
        random_ids = (uniform((self.seed, epoch, 3), rows, n_tokens) * self.n_ids).astype(np.int64)
        inputs = np.where(masked & (fate < 0.8), self.mask_id, ids)
        inputs = np.where(masked & (fate >= 0.8) & (fate < 0.9), random_ids, inputs)
        return inputs, np.where(masked, ids, IGNORED)


def build_masking(
    tokenizer: KmerTokenizer,
    masking: str = "bases",
    mlm_probability: float | None = None,
    mask_span_length: int | None = None,
    mask_region: str | None = None,
    seed: int = 0,
) -> Masking:
    """Returns the collator of a scheme, by its name on the command line.

    Args:
        tokenizer: The k-mer vocabulary.
        masking: `bases`, `dnabert` (spans of k tokens) or `tokens` (single tokens).
        mlm_probability: Share that is hidden, or centres of spans per token; by default 0.15, and 0.15 / k for `dnabert`.
        mask_span_length: For `bases`: neighbouring bases that are hidden together; by default 6.
        mask_region: Bases that may be hidden, START:END.
        seed: Of all random numbers.

    Raises:
        ValueError: The scheme or the region does not exist.
    """
    if masking == "bases":
        return NucleotideMasking(tokenizer, mlm_probability or 0.15, mask_span_length or 6, mask_region, seed)
    if masking == "dnabert":
        return TokenMasking(tokenizer, mlm_probability or 0.15 / tokenizer.k, mask_region, seed)
    if masking == "tokens":
        return TokenMasking(tokenizer, mlm_probability or 0.15, mask_region, seed, span=1)
    raise ValueError(f"`masking` {masking!r}: allowed are bases, dnabert and tokens")
