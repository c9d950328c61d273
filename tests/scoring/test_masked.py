"""The figures per k-mer and per base equal those of brute force."""

import numpy as np
import pytest
import torch
from transformers import EvalPrediction

from kmerbert.scoring.masked import MaskedMetrics, MaskedScorer
from kmerbert.scoring.metrics import masked_lm_metrics
from kmerbert.tokens.masking import NucleotideMasking, TokenMasking
from kmerbert.tokens.targets import IGNORED
from tests.support.tiny_runs import bases_of, make_batch, ragged_dna, random_dna
from tokenization_kmer import KmerTokenizer


def reference_scores(logits: np.ndarray, labels: np.ndarray, tokenizer: KmerTokenizer) -> np.ndarray:
    """The five numbers of every row, token by token and base by base."""
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    kmers = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    n_kmers = labels.shape[1] - 2
    scores = np.zeros((len(labels), 5))
    for row in range(len(labels)):
        for token in np.flatnonzero(labels[row] != IGNORED):
            truth = labels[row, token]
            scores[row, 0] += 1
            scores[row, 1] += probabilities[row, token].argmax() == truth
            scores[row, 2] -= np.log(probabilities[row, token, truth])
        for base in range((n_kmers - 1) * tokenizer.stride + tokenizer.k):
            spellers = [token for token in range(1, n_kmers + 1) if base in bases_of(token, tokenizer)]
            if any(labels[row, token] < 5 for token in spellers):
                continue
            votes = dict.fromkeys(tokenizer.alphabet, 0.0)
            for token in spellers:
                offset = base - bases_of(token, tokenizer)[0]
                for index in range(5, len(tokenizer)):
                    votes[kmers[index][offset]] += probabilities[row, token, index]
            letter = kmers[labels[row, spellers[0]]][base - bases_of(spellers[0], tokenizer)[0]]
            scores[row, 3] += 1
            scores[row, 4] += max(votes, key=votes.get) == letter
    return scores


@pytest.mark.parametrize(("k", "stride", "alphabet"), [(3, 1, "ATCG"), (3, 2, "ATCG"), (2, 2, "ATCG"), (2, 1, "ATCGN")])
def test_scorer_against_brute_force(k: int, stride: int, alphabet: str) -> None:
    tokenizer = KmerTokenizer(k, stride, alphabet)
    sequences = [sequence[:24] for sequence in ragged_dna(2, 8)]
    for hide in (NucleotideMasking(tokenizer, 0.4, 3), TokenMasking(tokenizer, 0.3)):
        labels = hide(make_batch(tokenizer, sequences))["labels"]
        logits = torch.from_numpy(np.random.default_rng(0).normal(0, 2, (*labels.shape, len(tokenizer))))
        # Half of the answers are pushed towards the truth, so that right and wrong ones both occur.
        logits.scatter_add_(
            2, labels.clamp(min=0)[:, :, None], torch.full((*labels.shape, 1), 4.0, dtype=torch.float64)
        )
        scores = MaskedScorer(tokenizer)(logits, labels)
        expected = reference_scores(logits.numpy(), labels.numpy(), tokenizer)
        assert scores.dtype == torch.float32
        assert scores.numpy() == pytest.approx(expected, rel=1e-5)
        assert 0 < expected[:, 4].sum() < expected[:, 3].sum()
        assert torch.equal(MaskedScorer(tokenizer)((logits, "hidden states"), labels), scores)


def test_scorer_counts_every_hidden_base_of_equally_long_rows() -> None:
    tokenizer = KmerTokenizer(4)
    batch = make_batch(tokenizer, random_dna(np.random.default_rng(0), 20, 40))
    hide = NucleotideMasking(tokenizer, 0.3, 2)
    labels = hide(batch)["labels"]
    counts = MaskedScorer(tokenizer)(torch.zeros(*labels.shape, len(tokenizer)), labels)
    # A visible base can be walled in by masked tokens; it is then as hidden as the chosen ones.
    chosen = hide.hidden_bases(np.full(20, 37), batch["row"], 0).sum(axis=1)
    assert (counts[:, 3].numpy() >= chosen).all()
    assert counts[:, 0].tolist() == (labels != IGNORED).sum(dim=1).tolist()


def test_perfect_and_uniform_guesses() -> None:
    tokenizer = KmerTokenizer(3)
    labels = NucleotideMasking(tokenizer, 0.3)(make_batch(tokenizer, random_dna(np.random.default_rng(0), 10)))[
        "labels"
    ]
    truth = torch.nn.functional.one_hot(labels.clamp(min=0), len(tokenizer)).float()
    perfect = masked_lm_metrics(MaskedScorer(tokenizer)(100 * truth, labels).numpy())
    assert perfect["accuracy"] == perfect["base_accuracy"] == 1.0
    assert perfect["perplexity"] == pytest.approx(1.0)
    assert perfect["hidden_bases"] > 10
    uniform = masked_lm_metrics(MaskedScorer(tokenizer)(0 * truth, labels).numpy())
    assert uniform["perplexity"] == pytest.approx(len(tokenizer), rel=1e-5)
    assert uniform["accuracy"] == 0.0  # a tie goes to id 0, which is not a k-mer


def test_scores_of_masked_tokens_alone_count_alike() -> None:
    torch.manual_seed(0)
    tokenizer = KmerTokenizer(3)
    batch = NucleotideMasking(tokenizer, probability=0.3)(make_batch(tokenizer, ragged_dna(2)))
    logits = torch.randn(*batch["labels"].shape, len(tokenizer))
    whole = MaskedScorer(tokenizer)(logits, batch["labels"])
    assert whole[:, 0].sum() == len(batch["masked"]) > 0
    compact = (logits.flatten(0, 1)[batch["masked"]], batch["masked"])  # as the Trainer hands it over in evaluation
    assert torch.equal(MaskedScorer(tokenizer)(compact, batch["labels"]), whole)


def test_batches_add_up_and_evaluations_start_again() -> None:
    counts = torch.tensor([[4.0, 1, 6, 2, 1], [6.0, 2, 8, 3, 3], [5.0, 5, 1, 4, 1]])
    add = MaskedMetrics()
    for _ in range(2):
        assert add(EvalPrediction(counts[:2], None), compute_result=False) == {}
        assert add(EvalPrediction(counts[2:], None), compute_result=True) == masked_lm_metrics(counts.numpy())
