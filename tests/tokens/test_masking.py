"""What is hidden is hidden, shares are as given, and a row's mask depends on nothing else."""

import doctest
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kmerbert.tokens import masking
from kmerbert.tokens.masking import Masking, NucleotideMasking, TokenMasking, build_masking, parse_region
from kmerbert.tokens.targets import IGNORED
from tests.support.messages import check_message, fails
from tests.support.tiny_runs import bases_of, make_batch, ragged_dna, random_dna
from tokenization_kmer import KmerTokenizer

# Tokens that DNABERT masks around a centre, doi:10.1093/bioinformatics/btab083 and its published program.
DNABERT_OFFSETS = {3: [-1, 1], 4: [-1, 1, 2], 5: [-2, -1, 1, 2], 6: [-2, -1, 1, 2, 3]}


@pytest.mark.parametrize(("k", "stride"), [(6, 1), (6, 3), (6, 6), (3, 1), (4, 3)])
def test_hidden_bases_are_spelt_by_no_visible_token(k: int, stride: int) -> None:
    tokenizer = KmerTokenizer(k, stride)
    sequences = ragged_dna()
    batch = make_batch(tokenizer, sequences, epoch=2)
    hide = NucleotideMasking(tokenizer, probability=0.2, span_length=4, seed=5)
    masked = hide(batch)
    n_kmers = np.array([tokenizer.n_tokens(len(sequence)) for sequence in sequences])
    hidden = hide.hidden_bases(n_kmers, batch["row"], 2)
    n_masked = 0
    for row, sequence in enumerate(sequences):
        tokens = range(1, 1 + n_kmers[row])
        is_masked = [t for t in tokens if masked["input_ids"][row, t] == tokenizer.mask_token_id]
        visible = {base for t in tokens if t not in is_masked for base in bases_of(t, tokenizer)}
        assert not any(hidden[row, base] for base in visible)
        for t in is_masked:
            assert any(hidden[row, base] for base in bases_of(t, tokenizer))
            assert set(bases_of(t, tokenizer)) - visible, f"token {t} of {sequence} is masked, yet hides nothing"
        n_masked += len(is_masked)
    assert n_masked > 100


@pytest.mark.parametrize("kind", [NucleotideMasking, TokenMasking])
@pytest.mark.parametrize("stride", [1, 3])
def test_labels_and_special_tokens(kind: type, stride: int) -> None:
    tokenizer = KmerTokenizer(6, stride)
    sequences = ragged_dna(1)
    batch = make_batch(tokenizer, sequences)
    result = kind(tokenizer, probability=0.3)(batch)
    assert set(result) == {"input_ids", "labels", "attention_mask", "masked"}
    assert result["masked"].tolist() == torch.nonzero(result["labels"].flatten() != IGNORED)[:, 0].tolist()
    assert {tensor.dtype for tensor in result.values()} == {torch.int64}
    before, after, labels = batch["input_ids"], result["input_ids"].numpy(), result["labels"].numpy()
    assert np.array_equal(result["attention_mask"], batch["attention_mask"])
    is_special = np.isin(before, [tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id])
    assert (after[is_special] == before[is_special]).all()
    assert (labels[is_special] == IGNORED).all()
    is_predicted = labels != IGNORED
    assert (labels[is_predicted] == before[is_predicted]).all()
    changed = after != before
    is_unknown = before == tokenizer.unk_token_id
    assert is_predicted.any()
    if kind is NucleotideMasking:  # an [UNK] may have to be masked, but nobody can guess what it was
        assert (is_unknown & changed).any()
        assert (is_predicted == changed & ~is_unknown).all()
    else:
        assert (is_predicted | ~changed).all()


def test_equal_lengths_need_no_attention_mask() -> None:
    tokenizer = KmerTokenizer(3)
    tensors = NucleotideMasking(tokenizer)(make_batch(tokenizer, ["ACGTACGT", "TTTTACGA"]))
    assert set(tensors) == {"input_ids", "labels", "masked"}


@pytest.mark.parametrize(("probability", "span_length"), [(0.15, 6), (0.15, 1), (0.5, 10)])
def test_share_of_hidden_bases(probability: float, span_length: int) -> None:
    tokenizer = KmerTokenizer(6)
    hide = NucleotideMasking(tokenizer, probability, span_length)
    hidden = hide.hidden_bases(np.full(2000, 95), np.arange(2000), 0)
    assert hidden.shape == (2000, 100)
    assert hidden.mean() == pytest.approx(probability, abs=0.01)
    # The first and the last base are hidden as often as any: four standard errors of 2,000 draws.
    error = 4 * (probability * (1 - probability) / 2000) ** 0.5
    assert np.abs(hidden.mean(axis=0) - probability).max() < error


def test_spans_hide_neighbours_together() -> None:
    hidden = NucleotideMasking(KmerTokenizer(6), 0.05, 7).hidden_bases(np.full(500, 95), np.arange(500), 0)
    edges = np.diff(np.pad(hidden, ((0, 0), (1, 1))).astype(int), axis=1)
    starts, ends = np.nonzero(edges == 1)[1], np.nonzero(edges == -1)[1]
    inner = (starts > 0) & (ends < 100)
    assert (ends - starts)[inner].min() == 7


@pytest.mark.parametrize("stride", [1, 4])
def test_region_of_bases(stride: int) -> None:
    tokenizer = KmerTokenizer(6, stride)
    lengths = np.array([110, 90, 60] * 400)
    n_kmers = tokenizer.n_tokens(lengths)
    hidden = NucleotideMasking(tokenizer, 0.15, 6, "17:-13").hidden_bases(n_kmers, np.arange(len(lengths)), 0)
    for length in (110, 90, 60):
        of_length = hidden[lengths == length]
        end = (tokenizer.n_tokens(length) - 1) * stride + 6 - 13  # counted from the last base that a token spells
        assert not of_length[:, :17].any()
        assert not of_length[:, end:].any()
        assert of_length[:, 17:end].mean() == pytest.approx(0.15, abs=0.015)


def test_region_of_dnabert_spans() -> None:
    tokenizer = KmerTokenizer(6)
    sequences = random_dna(np.random.default_rng(3), 300, 60)
    labels = TokenMasking(tokenizer, 0.05, "17:-13")(make_batch(tokenizer, sequences))["labels"]
    tokens = np.flatnonzero((labels != IGNORED).any(dim=0))
    assert tokens.min() == 1 + 17
    assert tokens.max() == 60 - 13 - 6 + 1  # the last k-mer that ends before base 47


@pytest.mark.parametrize("kind", [NucleotideMasking, TokenMasking])
def test_a_row_is_masked_alike_in_any_batch(kind: type) -> None:
    tokenizer = KmerTokenizer(6)
    sequences = random_dna(np.random.default_rng(0), 12, 50)
    whole = make_batch(tokenizer, sequences)
    hide = kind(tokenizer, probability=0.1, seed=3)
    expected = hide(whole)
    assert (expected["labels"] != IGNORED).sum() > 20
    every_second = (range(0, 12, 2), range(1, 12, 2))  # what two processes get
    for rows in map(list, ([3], [11, 0, 5], *every_second, range(11, -1, -1))):
        part = {"input_ids": whole["input_ids"][rows], "row": whole["row"][rows], "epoch": 0}
        masked = kind(tokenizer, probability=0.1, seed=3)(part)
        assert torch.equal(masked["input_ids"], expected["input_ids"][rows])
        assert torch.equal(masked["labels"], expected["labels"][rows])
    padded = make_batch(tokenizer, [*sequences, "ACGT" * 20])
    assert torch.equal(hide(padded)["labels"][:12, :47], expected["labels"])


@pytest.mark.parametrize("kind", [NucleotideMasking, TokenMasking])
def test_epochs_seeds_and_rows_are_masked_differently(kind: type) -> None:
    tokenizer = KmerTokenizer(6)
    sequences = ["ACGTTGCAAC" * 10] * 40

    def chosen(seed: int = 0, **where: int) -> np.ndarray:
        labels = kind(tokenizer, probability=0.1, seed=seed)(make_batch(tokenizer, sequences, **where))["labels"]
        return labels.numpy() != IGNORED

    first = chosen()
    assert len(np.unique(first, axis=0)) > 30  # rows with nothing masked are alike
    for other in (chosen(epoch=1), chosen(seed=1), chosen(first_row=1000)):
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.2


def test_random_numbers_are_uniform_and_unrelated() -> None:
    numbers = masking.uniform((1, 2, 3), np.arange(2000), 50)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.histogram(numbers, 20, (0, 1))[0]
    assert ((counts - 5000) ** 2 / 5000).sum() < 50  # chi squared, 19 degrees of freedom: exceeded once in 10,000
    for other in (
        masking.uniform((1, 2, 4), np.arange(2000), 50),
        masking.uniform((1, 3, 3), np.arange(2000), 50),
        np.roll(numbers, 1, axis=0),
        np.roll(numbers, 1, axis=1),
    ):
        assert abs(np.corrcoef(numbers.ravel(), other.ravel())[0, 1]) < 0.013


def reference_dnabert(
    ids: np.ndarray, n_kmers: list[int], offsets: list[int], p: float, draws: list[np.ndarray], n_ids: int
) -> tuple[np.ndarray, np.ndarray]:
    """DNABERT's masking as published, token by token, from given random numbers; BERT's without any offsets."""
    centre, fate, identity = draws
    inputs, labels = ids.astype(np.int64), np.full(ids.shape, IGNORED)
    for row, n in enumerate(n_kmers):
        chosen = set()
        for token in range(1, n + 1):
            if centre[row, token] < p:
                chosen |= {token, *(token + offset for offset in offsets if 1 <= token + offset <= n)}
        for token in chosen:
            labels[row, token] = ids[row, token]
            if fate[row, token] < 0.8:
                inputs[row, token] = 4
            elif fate[row, token] < 0.9:
                inputs[row, token] = int(identity[row, token] * n_ids)
    return inputs, labels


@pytest.mark.parametrize(("k", "stride", "span"), [(3, 1, None), (4, 1, None), (5, 1, None), (6, 1, None), (3, 3, 1)])
def test_dnabert_masking_equals_the_published_description(
    k: int, stride: int, span: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = KmerTokenizer(k, stride)
    sequences = ragged_dna(k)
    batch = make_batch(tokenizer, sequences)
    draws = []
    uniform = masking.uniform
    monkeypatch.setattr(masking, "uniform", lambda *given: draws.append(uniform(*given)) or draws[-1])
    masked = TokenMasking(tokenizer, 0.1, span=span)(batch)
    n_kmers = [tokenizer.n_tokens(len(sequence)) for sequence in sequences]
    inputs, labels = reference_dnabert(
        batch["input_ids"], n_kmers, [] if span else DNABERT_OFFSETS[k], 0.1, draws, len(tokenizer)
    )
    assert np.array_equal(masked["labels"], labels)
    assert np.array_equal(masked["input_ids"], inputs)


def test_dnabert_shares() -> None:
    tokenizer = KmerTokenizer(6)
    batch = make_batch(tokenizer, random_dna(np.random.default_rng(0), 1000, 500))
    tensors = TokenMasking(tokenizer, 0.025)(batch)
    masked = (tensors["labels"] != IGNORED).numpy()
    assert masked[:, 1:-1].mean() == pytest.approx(1 - 0.975**6, abs=0.003)  # 14.1 %
    after, before = tensors["input_ids"].numpy()[masked], batch["input_ids"][masked]
    assert (after == tokenizer.mask_token_id).mean() == pytest.approx(0.8, abs=0.01)
    assert (after == before).mean() == pytest.approx(0.1, abs=0.01)


def test_dnabert_draws_random_ids_from_the_whole_vocabulary() -> None:
    tokenizer = KmerTokenizer(2)
    batch = make_batch(tokenizer, ["A" * 400] * 50)
    tensors = TokenMasking(tokenizer, 0.3)(batch)
    masked = (tensors["labels"] != IGNORED).numpy()
    after = tensors["input_ids"].numpy()[masked]
    counts = np.bincount(after, minlength=len(tokenizer)) / len(after)
    others = np.delete(counts, [tokenizer.mask_token_id, tokenizer.convert_tokens_to_ids("AA")])
    assert others.mean() == pytest.approx(0.1 / len(tokenizer), rel=0.1)
    assert others.min() > 0.5 * others.mean()


@pytest.mark.parametrize(
    ("text", "expected"), [(None, (None, None)), ("17:-13", (17, -13)), (":9", (None, 9)), (" 3 :", (3, None))]
)
def test_regions(text: str | None, expected: tuple[int | None, int | None]) -> None:
    assert parse_region(text) == slice(*expected)


@pytest.mark.parametrize("text", ["17", "a:b", "1:2:3", "1.5:3"])
def test_text_that_is_no_region(text: str) -> None:
    with fails(f"`mask_region` '{text}'", "START:END"):
        parse_region(text)


@pytest.mark.parametrize(
    ("kind", "region"), [(NucleotideMasking, "30:40"), (NucleotideMasking, "9:5"), (TokenMasking, "4:9")]
)
def test_region_without_anything_to_hide(kind: type, region: str) -> None:
    with fails(f"`mask_region` '{region}'", "24 bases"):
        kind(KmerTokenizer(6), region=region).check_length(24)


@pytest.mark.parametrize(
    ("kind", "region"), [(NucleotideMasking, "20:40"), (TokenMasking, "4:10"), (NucleotideMasking, None)]
)
def test_region_with_something_to_hide(kind: type, region: str | None) -> None:
    kind(KmerTokenizer(6), region=region).check_length(24)


def test_knows_no_tokenizer_class() -> None:
    real = KmerTokenizer(3)
    names = ("k", "stride", "alphabet", "mask_token_id", "all_special_ids")

    class Vocabulary(SimpleNamespace):
        def __len__(self) -> int:
            return 69

    other = Vocabulary(**{name: getattr(real, name) for name in names})
    batch = make_batch(real, ["ACGTACGTTTGA"])
    assert torch.equal(NucleotideMasking(other, 0.5)(batch)["labels"], NucleotideMasking(real, 0.5)(batch)["labels"])


def test_single_tokens_that_overlap_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    for tokenizer in (KmerTokenizer(6, 6), KmerTokenizer(1)):
        TokenMasking(tokenizer, span=1)
    TokenMasking(KmerTokenizer(6))
    assert not caplog.messages
    TokenMasking(KmerTokenizer(6, 2), span=1)
    (message,) = caplog.messages
    check_message(message, "`masking` tokens", "6-mers", "2 bases", "`masking` bases", "`stride` 6")


@pytest.mark.parametrize(
    ("settings", "kind", "expected"),
    [
        ({}, NucleotideMasking, {"probability": 0.15, "span_length": 6}),
        ({"mlm_probability": 0.3}, NucleotideMasking, {"probability": 0.3}),
        ({"mask_span_length": 2, "seed": 7}, NucleotideMasking, {"span_length": 2, "seed": 7}),
        ({"mask_region": "3:-3"}, NucleotideMasking, {"region": "3:-3"}),
        ({"masking": "dnabert"}, TokenMasking, {"probability": 0.025}),  # 0.15 / 6
        ({"masking": "dnabert", "mlm_probability": 0.1, "seed": 7}, TokenMasking, {"probability": 0.1, "seed": 7}),
        ({"masking": "tokens", "mask_region": "9:"}, TokenMasking, {"probability": 0.15, "region": "9:", "span": 1}),
    ],
)
def test_schemes_by_name(settings: dict[str, Any], kind: type[Masking], expected: dict[str, Any]) -> None:
    tokenizer = KmerTokenizer(6)
    batch = make_batch(tokenizer, random_dna(np.random.default_rng(0), 40, 60), epoch=1)
    masked, same = build_masking(tokenizer, **settings)(batch), kind(tokenizer, **expected)(batch)
    assert torch.equal(masked["input_ids"], same["input_ids"])
    assert torch.equal(masked["labels"], same["labels"])
    assert (masked["labels"] != IGNORED).any()


def test_schemes_that_do_not_exist() -> None:
    with fails("`masking` 'words'", "bases", "dnabert", "tokens"):
        build_masking(KmerTokenizer(6), "words")


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(masking)
    assert result.attempted
    assert not result.failed
