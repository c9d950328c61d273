"""What a masked language model has to guess: which k-mers are hidden, and how well they are guessed.

Neighbouring k-mers of stride 1 share k-1 bases, so hiding one token hides nothing: its neighbours spell it. `BaseMasking`
therefore chooses bases and masks every token that spells one of them. `DnabertMasking` is DNABERT's own scheme
(doi:10.1093/bioinformatics/btab083). Both are collators that draw from (seed, epoch, row, position) alone: the same
row is masked alike whatever batch, process or resumed run it comes in. Knows no model and no file.
"""

from typing import Any, Protocol

import numpy as np
import torch

IGNORED = -100  # label of a token that is not to be guessed (torch's and the Trainer's convention)


class KmerVocabulary(Protocol):
    """What is needed of a tokenizer: k-mer ids follow the special ids, in product order of the alphabet."""

    k: int
    stride: int
    alphabet: str
    mask_token_id: int
    all_special_ids: list[int]

    def __len__(self) -> int: ...


def _mix(state: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (doi:10.1145/2660193.2660195): uint64 in, well-mixed uint64 out."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def uniform(key: tuple[int, ...], rows: np.ndarray, n_positions: int) -> np.ndarray:
    """Random numbers that depend on where they are used, not on when they are drawn.

    Args:
        key: whole numbers that name the draw (seed, epoch, purpose).
        rows: int64 array (n,), row numbers.
        n_positions: numbers for each row.

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
    """Reads START:END, 0-based, END not included, either side empty or counted from the right end when negative.

    Raises:
        ValueError: for anything else.

    >>> parse_region("17:-13")
    slice(17, -13, None)
    """
    try:
        start, end = (int(part) if part.strip() else None for part in (text or ":").split(":"))
    except ValueError:
        raise ValueError(f"--mask_region {text!r}: allowed is START:END in bases, such as 17:-13 or 17:97") from None
    return slice(start, end)


class Masking:
    """What both schemes share: where tokens and bases are, and how a batch becomes tensors."""

    def __init__(self, tokenizer: KmerVocabulary, region: str | None, seed: int) -> None:
        self.k, self.stride = tokenizer.k, tokenizer.stride
        self.mask_id, self.n_ids = tokenizer.mask_token_id, len(tokenizer)
        self.n_special = max(tokenizer.all_special_ids) + 1
        self.region, self.seed = parse_region(region), seed
        self.region_text, self.shortest_region = region, 1

    def __call__(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Masks a batch.

        Args:
            batch: `input_ids` int (n, longest), each row [CLS], k-mers, [SEP], padding; `attention_mask` (n, longest)
                where rows differ in length; `row` int64 (n,); `epoch`.

        Returns:
            int64 tensors (n, longest): `input_ids`, `labels` with `IGNORED` where nothing is to be guessed, and
            `attention_mask` where there was one.
        """
        ids = batch["input_ids"].astype(np.int64)
        attention = batch.get("attention_mask")
        longest = np.full(len(ids), ids.shape[1]) if attention is None else attention.sum(axis=1)
        n_kmers = longest - 2
        inputs, labels = self.mask(ids, n_kmers, batch["row"], int(batch["epoch"]))
        tensors = {"input_ids": inputs, "labels": labels}
        if attention is not None:
            tensors["attention_mask"] = attention.astype(np.int64)
        return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in tensors.items()}

    def _allowed_bases(self, n_kmers: np.ndarray, n_bases: int) -> np.ndarray:
        """bool array (n, n_bases): bases that k-mers spell and that lie in the region."""
        covered = (n_kmers - 1) * self.stride + self.k
        bounds = [self.region.indices(int(n)) for n in covered]
        start, end = np.array(bounds)[:, 0], np.array(bounds)[:, 1]
        positions = np.arange(n_bases)
        return (positions >= start[:, None]) & (positions < end[:, None])

    def check_length(self, n_bases: int) -> None:
        """Raises ValueError for a region in which sequences of `n_bases` bases have nothing to hide."""
        start, end, _ = self.region.indices(n_bases)
        if end - start < self.shortest_region:
            raise ValueError(
                f"--mask_region {self.region_text!r}: nothing can be hidden there in sequences of {n_bases} bases; needed "
                f"are {self.shortest_region} or more of their bases"
            )

    def mask(self, ids: np.ndarray, n_kmers: np.ndarray, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError


class BaseMasking(Masking):
    """Hides chosen bases by masking every token that spells one of them; no masked base can be read off a neighbour.

    Args:
        tokenizer: the k-mer vocabulary.
        probability: expected share of the region's bases that are hidden.
        span_length: neighbouring bases that are hidden together.
        region: bases that may be hidden, START:END; counted over the bases that tokens cover.
        seed: of all draws.
    """

    def __init__(
        self,
        tokenizer: KmerVocabulary,
        probability: float = 0.15,
        span_length: int = 6,
        region: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(tokenizer, region, seed)
        # A base is hidden when a span begins at it or at one of the span_length - 1 places before it.
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
        labels = np.where(masked & (ids >= self.n_special), ids, IGNORED)
        return np.where(masked, self.mask_id, ids), labels


class DnabertMasking(Masking):
    """DNABERT's spans: around each drawn token, k tokens in all; then 80 % [MASK], 10 % random, 10 % kept, per token.

    The three-way draw is per token and not per span, and a random id comes from the whole vocabulary, special tokens
    included, as in DNABERT's program. With stride 1 a span of k tokens hides one base; a kept token shows it.

    Args:
        tokenizer: the k-mer vocabulary.
        probability: of a token to be the centre of a span; DNABERT's value for k = 6 is 0.025.
        region: only tokens that lie in these bases are centres or are masked, START:END.
        seed: of all draws.
    """

    def __init__(
        self, tokenizer: KmerVocabulary, probability: float = 0.025, region: str | None = None, seed: int = 0
    ) -> None:
        super().__init__(tokenizer, region, seed)
        self.probability, self.shortest_region = probability, self.k
        # k = 6: two tokens before the centre and three after it; k = 3: one and one.
        self.before, self.after = (self.k - 1) // 2, self.k // 2

    def mask(self, ids: np.ndarray, n_kmers: np.ndarray, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        n_tokens = ids.shape[1]
        widest = int(n_kmers.max())
        allowed = self._allowed_bases(n_kmers, (widest - 1) * self.stride + self.k)
        first = np.arange(widest) * self.stride
        may = np.zeros(ids.shape, bool)
        may[:, 1 : 1 + widest] = allowed[:, first] & allowed[:, first + self.k - 1]
        centres = may & (uniform((self.seed, epoch, 1), rows, n_tokens) < self.probability)
        masked = np.zeros(ids.shape, bool)
        for offset in range(-self.before, self.after + 1):
            shifted = np.zeros(ids.shape, bool)
            source = centres[:, max(0, -offset) : n_tokens - max(0, offset)]
            shifted[:, max(0, offset) : n_tokens - max(0, -offset)] = source
            masked |= shifted
        masked &= may
        fate = uniform((self.seed, epoch, 2), rows, n_tokens)
        random_ids = (uniform((self.seed, epoch, 3), rows, n_tokens) * self.n_ids).astype(np.int64)
        inputs = np.where(masked & (fate < 0.8), self.mask_id, ids)
        inputs = np.where(masked & (fate >= 0.8) & (fate < 0.9), random_ids, inputs)
        return inputs, np.where(masked, ids, IGNORED)


class MaskedScorer:
    """Boils the logits of a batch down to five numbers a row, so that evaluation never gathers logits.

    A base counts as hidden when every token that spells it is to be guessed. Its letter is guessed by averaging, over
    those tokens, the probability that each gives to every letter at that place. In a batch of rows of several lengths
    the last k-1 bases of the shorter rows are not counted, since the labels do not tell where a row ends. (With
    DnabertMasking a tenth of the tokens to be guessed can be read, so the figure per base is too kind.)
    """

    COLUMNS = ("tokens", "right_tokens", "negative_log_likelihood", "bases", "right_bases")

    def __init__(self, tokenizer: KmerVocabulary) -> None:
        self.k, self.stride, self.n_letters = tokenizer.k, tokenizer.stride, len(tokenizer.alphabet)
        self.n_special = max(tokenizer.all_special_ids) + 1
        powers = self.n_letters ** torch.arange(self.k - 1, -1, -1)
        letters = (torch.arange(len(tokenizer) - self.n_special)[:, None] // powers) % self.n_letters
        self.letters = letters  # (k-mers, k): which letter each k-mer has at each place
        self.spelling = torch.nn.functional.one_hot(letters, self.n_letters).flatten(1).float()

    def __call__(self, logits: Any, labels: torch.Tensor) -> torch.Tensor:
        """Scores a batch.

        Args:
            logits: float tensor (n, tokens, ids), or a tuple that begins with it.
            labels: int64 tensor (n, tokens), `IGNORED` where nothing is to be guessed.

        Returns:
            float32 tensor (n, 5), columns `COLUMNS`.
        """
        logits = logits[0] if isinstance(logits, tuple) else logits
        row, token = torch.nonzero(labels != IGNORED, as_tuple=True)
        truth = labels[row, token]
        log_probabilities = torch.log_softmax(logits[row, token].float(), dim=-1)
        nll = -log_probabilities.gather(1, truth[:, None])[:, 0]
        right = log_probabilities.argmax(dim=-1) == truth
        # A label below n_special (an [UNK], in DNABERT's scheme) spells no base.
        spells = truth >= self.n_special
        bases = self._bases(labels, row[spells], token[spells], truth[spells], log_probabilities[spells])
        per_row = torch.zeros(len(labels), 5, device=labels.device)
        for column, values in enumerate((torch.ones_like(nll), right, nll)):
            per_row[:, column].index_add_(0, row, values.float())
        per_row[:, 3:] = bases
        return per_row

    def _bases(
        self, labels: torch.Tensor, row: torch.Tensor, token: torch.Tensor, truth: torch.Tensor, log_p: torch.Tensor
    ) -> torch.Tensor:
        """Hidden bases of every row and how many are right, (n, 2)."""
        n_kmers = labels.shape[1] - 2
        n_bases = (n_kmers - 1) * self.stride + self.k
        spelling, letters = self.spelling.to(labels.device), self.letters.to(labels.device)
        marginal = (log_p[:, self.n_special :].exp() @ spelling).view(-1, self.k, self.n_letters)
        place = ((token - 1) * self.stride)[:, None] + torch.arange(self.k, device=labels.device)
        flat = (row[:, None] * n_bases + place).flatten()
        votes = torch.zeros(len(labels) * n_bases, self.n_letters, device=labels.device)
        votes.index_add_(0, flat, marginal.flatten(0, 1))
        true_letter = torch.zeros(len(votes), dtype=torch.int64, device=labels.device)
        true_letter[flat] = letters[truth - self.n_special].flatten()
        guessed = torch.zeros(len(votes), device=labels.device).index_add_(0, flat, torch.ones_like(flat).float())
        first = torch.arange(n_kmers, device=labels.device) * self.stride
        spelt = torch.zeros(n_bases, device=labels.device)
        spelt.index_add_(
            0, (first[:, None] + torch.arange(self.k, device=labels.device)).flatten(), spelt.new_ones(n_kmers * self.k)
        )
        hidden = guessed.view(len(labels), n_bases) == spelt
        hidden &= spelt > 0
        right = hidden & (votes.argmax(dim=-1) == true_letter).view(hidden.shape)
        return torch.stack([hidden.sum(dim=1), right.sum(dim=1)], dim=1).float()


def masked_lm_metrics(counts: np.ndarray) -> dict[str, float]:
    """Sums what `MaskedScorer` counted.

    Args:
        counts: float array (n, 5), columns `MaskedScorer.COLUMNS`.

    Returns:
        `accuracy` of masked tokens, `perplexity` per masked token, `base_accuracy` of hidden bases (0.25 is a guess among
        four letters), and `hidden_bases`, their number.
    """
    tokens, right, nll, bases, right_bases = np.asarray(counts, dtype=np.float64).reshape(-1, 5).sum(axis=0)
    return {
        "accuracy": float(right / max(tokens, 1)),
        "perplexity": float(np.exp(min(nll / max(tokens, 1), 700.0))),
        "base_accuracy": float(right_bases / max(bases, 1)),
        "hidden_bases": float(bases),
    }
