"""How well a masked language model predicts what is hidden: k-mers and single bases."""

from typing import Any

import numpy as np
import torch
from transformers import EvalPrediction

from kmerbert.scoring.metrics import masked_lm_metrics
from kmerbert.tokens.targets import IGNORED
from tokenization_kmer import N_ADDED, N_SPECIAL, KmerTokenizer


class MaskedScorer:
    """Reduces the logits of a batch to five numbers a row, so that evaluation never gathers logits.

    A base counts as hidden if every token that spells it is to be predicted. Its letter is predicted by averaging, over
    those tokens, the probability that each gives to every letter at that position. In a batch of rows of several lengths
    the last k-1 bases of the shorter rows are not counted, since the labels do not tell where a row ends. (With
    TokenMasking a tenth of the tokens to be predicted can be read, so the figure per base is too kind.)
    """

    COLUMNS = ("tokens", "right_tokens", "negative_log_likelihood", "bases", "right_bases")

    def __init__(self, tokenizer: KmerTokenizer) -> None:
        self.k, self.stride, self.n_letters = tokenizer.k, tokenizer.stride, len(tokenizer.alphabet)
        powers = self.n_letters ** torch.arange(self.k - 1, -1, -1)
        letters = (torch.arange(len(tokenizer) - N_SPECIAL)[:, None] // powers) % self.n_letters
        self.letters = letters  # (k-mers, k): which letter each k-mer has at each position
        self.spelling = torch.nn.functional.one_hot(letters, self.n_letters).flatten(1).float()

    def __call__(self, logits: Any, labels: torch.Tensor) -> torch.Tensor:
        """Scores a batch.

        Args:
            logits: Float tensor (n, tokens, ids), or (tokens to be predicted, ids); or a tuple that begins with it.
            labels: int64 tensor (n, tokens), `IGNORED` where nothing is to be predicted.

        Returns:
            float32 tensor (n, 5), columns `COLUMNS`.
        """
        logits = logits[0] if isinstance(logits, tuple) else logits
        row, token = torch.nonzero(labels != IGNORED, as_tuple=True)
        truth = labels[row, token]
        logits = logits[row, token] if logits.dim() == 3 else logits
        log_probabilities = torch.log_softmax(logits.float(), dim=-1)
        nll = -log_probabilities.gather(1, truth[:, None])[:, 0]
        is_right = log_probabilities.argmax(dim=-1) == truth
        # A label below N_SPECIAL (an [UNK], in DNABERT's scheme) spells no base.
        is_kmer = truth >= N_SPECIAL
        bases = self._bases(labels, row[is_kmer], token[is_kmer], truth[is_kmer], log_probabilities[is_kmer])
        per_row = torch.zeros(len(labels), 5, device=labels.device)
        for column, values in enumerate((torch.ones_like(nll), is_right, nll)):
            per_row[:, column].index_add_(0, row, values.float())
        per_row[:, 3:] = bases
        return per_row

    def _bases(
        self, labels: torch.Tensor, row: torch.Tensor, token: torch.Tensor, truth: torch.Tensor, log_p: torch.Tensor
    ) -> torch.Tensor:
        """Hidden bases of every row and how many are right, (n, 2)."""
        n_kmers = labels.shape[1] - N_ADDED
        n_bases = (n_kmers - 1) * self.stride + self.k
        spelling, letters = self.spelling.to(labels.device), self.letters.to(labels.device)
        marginal = (log_p[:, N_SPECIAL:].exp() @ spelling).view(-1, self.k, self.n_letters)
        position = ((token - 1) * self.stride)[:, None] + torch.arange(self.k, device=labels.device)
        flat = (row[:, None] * n_bases + position).flatten()
        votes = torch.zeros(len(labels) * n_bases, self.n_letters, device=labels.device)
        votes.index_add_(0, flat, marginal.flatten(0, 1))
        true_letter = torch.zeros(len(votes), dtype=torch.int64, device=labels.device)
        true_letter[flat] = letters[truth - N_SPECIAL].flatten()
        n_votes = torch.zeros(len(votes), device=labels.device).index_add_(0, flat, torch.ones_like(flat).float())
        first = torch.arange(n_kmers, device=labels.device) * self.stride
        n_tokens = torch.zeros(n_bases, device=labels.device)  # that spell each base
        bases = (first[:, None] + torch.arange(self.k, device=labels.device)).flatten()
        n_tokens.index_add_(0, bases, n_tokens.new_ones(n_kmers * self.k))
        is_hidden = n_votes.view(len(labels), n_bases) == n_tokens
        is_hidden &= n_tokens > 0
        is_right = is_hidden & (votes.argmax(dim=-1) == true_letter).view(is_hidden.shape)
        return torch.stack([is_hidden.sum(dim=1), is_right.sum(dim=1)], dim=1).float()


class MaskedMetrics:
    """Adds up what `MaskedScorer` counted, batch by batch, so that an evaluation of any length keeps five numbers.

    For a Trainer with `batch_eval_metrics`, which calls it once for each batch.
    """

    def __init__(self) -> None:
        self._sums = np.zeros(len(MaskedScorer.COLUMNS))

    def __call__(self, prediction: EvalPrediction, compute_result: bool) -> dict[str, float]:
        """Adds a batch, and starts again after the last one.

        Args:
            prediction: With `predictions`, float tensor (n, 5), columns `MaskedScorer.COLUMNS`.
            compute_result: Whether the batch is the last one.

        Returns:
            `masked_lm_metrics` of all batches after the last one, nothing before.
        """
        self._sums += torch.as_tensor(prediction.predictions).double().sum(dim=0).cpu().numpy()
        if not compute_result:
            return {}
        sums, self._sums = self._sums, np.zeros_like(self._sums)
        return masked_lm_metrics(sums)
