"""How well a masked language model guesses what is hidden: k-mers and single bases. Knows no model and no file."""

from typing import Any

import numpy as np
import torch
from transformers import EvalPrediction

from kmerbert.tokens.masking import IGNORED, KmerVocabulary

MASKED_METRICS = ("accuracy", "perplexity", "base_accuracy")


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
            logits: float tensor (n, tokens, ids), or (tokens to be guessed, ids); or a tuple that begins with it.
            labels: int64 tensor (n, tokens), `IGNORED` where nothing is to be guessed.

        Returns:
            float32 tensor (n, 5), columns `COLUMNS`.
        """
        logits = logits[0] if isinstance(logits, tuple) else logits
        row, token = torch.nonzero(labels != IGNORED, as_tuple=True)
        truth = labels[row, token]
        logits = logits[row, token] if logits.dim() == 3 else logits
        log_probabilities = torch.log_softmax(logits.float(), dim=-1)
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


class MaskedMetrics:
    """Adds up what `MaskedScorer` counted, batch by batch, so that an evaluation of any length holds five numbers.

    For a Trainer with `batch_eval_metrics`, which calls it once for each batch.
    """

    def __init__(self) -> None:
        self._sums = np.zeros(len(MaskedScorer.COLUMNS))

    def __call__(self, found: EvalPrediction, compute_result: bool) -> dict[str, float]:
        """Adds a batch, and begins anew after the last one.

        Args:
            found: with `predictions`, float tensor (n, 5), columns `MaskedScorer.COLUMNS`.
            compute_result: whether the batch is the last one.

        Returns:
            `masked_lm_metrics` of all batches after the last one, nothing before.
        """
        self._sums += torch.as_tensor(found.predictions).double().sum(dim=0).cpu().numpy()
        if not compute_result:
            return {}
        sums, self._sums = self._sums, np.zeros_like(self._sums)
        return masked_lm_metrics(sums)


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
