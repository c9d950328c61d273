"""modeling_kmer_regression: frames equal a tokenizer that cuts them, outputs are averaged before the loss, it travels."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    pipeline,
)

import modeling_kmer_regression
import run_finetune_regression
import run_pretrain_mlm
from kmerbert.models.loading import max_tokens
from modeling_kmer_regression import KmerBertConfig, KmerBertForSequenceClassification, KmerBertModel, split_frames
from tests.support.graphs import batch, onnx_graph
from tests.support.messages import check_message, fails
from tests.support.tiny_runs import flags, planted_table, random_dna
from tokenization_kmer import KmerTokenizer

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
NETWORK = "hidden_size=16,num_hidden_layers=1,num_attention_heads=2,intermediate_size=32"


def build(k: int, n_frames: int, n_outputs: int = 1) -> KmerBertForSequenceClassification:
    torch.manual_seed(0)
    sizes = SIZES | {"vocab_size": 5 + 4**k, "num_labels": n_outputs, "initializer_range": 0.5}
    return KmerBertForSequenceClassification(KmerBertConfig(n_frames, **sizes)).eval()


@pytest.mark.parametrize(("k", "n_frames"), [(3, 3), (3, 1), (2, 2), (4, 3), (2, 5)])
@pytest.mark.parametrize("is_ragged", [False, True])
def test_equals_reading_the_frames_one_by_one(k: int, n_frames: int, is_ragged: bool) -> None:
    """The reference cuts the string, tokenises each piece with stride n_frames and averages a plain BERT's answers."""
    model, random = build(k, n_frames, n_outputs=2), np.random.default_rng(k)
    plain = BertForSequenceClassification(BertConfig(**SIZES, vocab_size=5 + 4**k, num_labels=2)).eval()
    plain.load_state_dict(model.state_dict())
    rows = random_dna(random, 12, 31)
    rows = [row[: random.integers(k + n_frames, 32)] for row in rows] if is_ragged else rows
    every = KmerTokenizer(k)(rows, padding=True, return_tensors="pt")
    expected = []
    for row in rows:
        answers = []
        for frame in range(n_frames):
            kmers = [row[start : start + k] for start in range(frame, len(row) - k + 1, n_frames)]
            ids = [2, *KmerTokenizer(k).convert_tokens_to_ids(kmers), 3]
            answers.append(plain(torch.tensor([ids])).logits[0])
        expected.append(torch.stack(answers).mean(dim=0))
    with torch.no_grad():
        outputs = model(every["input_ids"], every["attention_mask"]).logits
        assert torch.allclose(outputs, torch.stack(expected), atol=1e-5)
        if not is_ragged:
            assert torch.allclose(model(every["input_ids"]).logits, outputs, atol=1e-6)


def test_frames_by_hand() -> None:
    ids = torch.tensor([[2, 10, 11, 12, 13, 3, 0], [2, 20, 21, 22, 23, 24, 3]])
    frames, mask = split_frames(ids, (ids != 0).long(), 2, pad_id=0)
    assert frames.tolist() == [[2, 10, 12, 3, 0], [2, 11, 13, 3, 0], [2, 20, 22, 24, 3], [2, 21, 23, 3, 0]]
    assert torch.equal(mask, (frames != 0).long())
    frames, mask = split_frames(ids[:1, :6], None, 2, pad_id=0)
    assert (frames.tolist(), mask) == ([[2, 10, 12, 3], [2, 11, 13, 3]], None)
    frames, mask = split_frames(ids[1:], None, 3, pad_id=0)
    assert frames.tolist() == [[2, 20, 23, 3], [2, 21, 24, 3], [2, 22, 3, 0]]


def test_padding_may_be_on_the_left_and_rows_may_not_be_too_short() -> None:
    model, tokenizer = build(3, 3), KmerTokenizer(3)
    batch = tokenizer(["ACGTACGTACGTA", "ACGTAGG", "GGATC"], padding=True, return_tensors="pt")
    shifts = (batch["attention_mask"] == 0).sum(dim=1).tolist()
    left = {
        name: torch.stack([row.roll(n) for row, n in zip(rows, shifts, strict=True)]) for name, rows in batch.items()
    }
    with torch.no_grad():
        torch.testing.assert_close(model(**left).logits, model(**batch).logits)
    with fails("2 k-mers", " 3"):
        model(**tokenizer(["ACGT"], return_tensors="pt"))
    with fails("2 k-mers", " 3"):
        model(**tokenizer(["ACGT", "ACGTACG"], padding=True, return_tensors="pt"))


def test_embeddings_are_those_of_the_frames() -> None:
    """A k-mer's state is that of a plain BERT which reads the k-mer's frame alone."""
    model, tokenizer = build(3, 3), KmerTokenizer(3)
    embed = KmerBertModel(model.config).eval()
    embed.load_state_dict(model.bert.state_dict())
    plain = BertModel(BertConfig(**SIZES, vocab_size=69, initializer_range=0.5)).eval()
    plain.load_state_dict(model.bert.state_dict())
    batch = tokenizer(["ACGTTGCATTAC", "GGATCCA"], padding=True, return_tensors="pt")
    with torch.no_grad():
        outputs = embed(**batch, output_hidden_states=True, output_attentions=True)
        whole = model(**batch, output_hidden_states=True, return_dict=False)
        for row, n_kmers in enumerate((10, 5)):
            firsts = []
            for frame in range(3):
                ids = torch.cat(
                    [torch.tensor([2]), batch["input_ids"][row, 1 + frame : 1 + n_kmers : 3], torch.tensor([3])]
                )
                states = plain(ids[None]).last_hidden_state[0]
                firsts.append(states[0])
                torch.testing.assert_close(
                    outputs.last_hidden_state[row, 1 + frame : 1 + n_kmers : 3], states[1:-1], rtol=0, atol=1e-5
                )
            torch.testing.assert_close(
                outputs.last_hidden_state[row, 0], torch.stack(firsts).mean(dim=0), rtol=0, atol=1e-5
            )
            assert not outputs.last_hidden_state[row, n_kmers + 2 :].any()
    assert len(outputs.hidden_states) == 3
    torch.testing.assert_close(outputs.hidden_states[-1], outputs.last_hidden_state)
    assert len(whole) == 2
    torch.testing.assert_close(whole[1][-1], outputs.last_hidden_state)
    with fails("`inputs_embeds`"):
        model(inputs_embeds=torch.zeros(1, 9, 16))


@pytest.mark.parametrize("is_padded", [False, True])
def test_a_graph_holds_for_other_lengths(is_padded: bool) -> None:
    model, size = build(3, 3), torch.export.Dim.DYNAMIC

    def rows(n_rows: int, width: int) -> dict[str, torch.Tensor]:
        inputs = {"input_ids": torch.randint(5, 69, (n_rows, width))}
        if is_padded:
            n_tokens = torch.randint(5, width + 1, (n_rows, 1))
            inputs["attention_mask"] = (torch.arange(width) < n_tokens).long()
        return inputs

    shapes = {name: {0: size, 1: size} for name in rows(1, 9)}
    program = torch.export.export(model, (), rows(3, 23), dynamic_shapes=shapes).module()
    with torch.no_grad():
        for n_rows, width in ((1, 23), (4, 24), (2, 25), (5, 9)):
            inputs = rows(n_rows, width)
            torch.testing.assert_close(program(**inputs).logits, model(**inputs).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("has_head", [False, True])
def test_an_onnx_graph_is_the_same_whatever_it_was_traced_with(has_head: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embeddings' graph had the length of the example's frames in it."""
    model = build(3, 3)
    model = model if has_head else KmerBertModel(model.config).eval()
    graphs = [onnx_graph(model, *lengths, monkeypatch=monkeypatch) for lengths in ((13, 7), (26, 9, 25))]
    assert graphs[0] == graphs[1]


def test_rows_without_ends_are_told(caplog: pytest.LogCaptureFixture) -> None:
    model = build(3, 3)
    type(modeling_kmer_regression.logger).warning_once.cache_clear()
    model(*batch(12, 9))
    assert not caplog.text
    model(batch(12, 12)[0][:, 1:-1])
    check_message(caplog.messages[0], "[CLS]", "[SEP]", "`tokenizer(sequence)`")


def test_the_loss_is_that_of_the_averaged_outputs() -> None:
    """Not the average of the frames' losses."""
    model, ids = build(3, 3), KmerTokenizer(3).encode_ids(random_dna(np.random.default_rng(0), 4, 30))
    ids, labels = torch.from_numpy(ids).long(), torch.randn(4, 1)
    outputs = model(ids, labels=labels)
    assert outputs.loss.item() == pytest.approx(((outputs.logits - labels) ** 2).mean().item(), rel=1e-6)


def test_a_pretrained_bert_fits_in() -> None:
    config = KmerBertConfig.from_bert(BertConfig(**SIZES, auto_map={"AutoConfig": "a.b"}, num_labels=3), 4)
    assert (config.n_frames, config.num_labels, config.hidden_size, config.model_type) == (4, 3, 16, "kmer_bert")
    assert not hasattr(config, "auto_map")
    with fails("`reading_frames`", "albert", "`model_type` bert"):
        KmerBertConfig.from_bert(AlbertConfig(), 3)
    with fails("n_frames 0", "1 or more"):
        KmerBertConfig(0)


def test_length_that_the_model_reads() -> None:
    """Three frames of at most 510 k-mers; a plain BERT reads one."""
    assert max_tokens(KmerBertConfig(3)) == 3 * 510 + 2
    assert max_tokens(KmerBertConfig(1)) == max_tokens(BertConfig()) == 512


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both stages: 3-mers that do not overlap, plasmid flanks, then three frames of them."""
    folder = tmp_path_factory.mktemp("frames")
    table = planted_table(folder / "a.tsv", n=60)
    plasmid = folder / "plasmid.txt"
    plasmid.write_text("ACGTACGTTTGACA" + "N" * 20 + "GGTTACGGCTGTTA")
    run_pretrain_mlm.main(
        flags(
            table, folder / "mlm", k=3, stride=3, config_overrides=NETWORK, masking="tokens", flank_file=plasmid,
            flank_length=9, top_fraction=0.5, mlm_probability=0.5, mask_region="9:-9",
        )
    )  # fmt: skip
    run_finetune_regression.main(flags(table, folder / "out", model_name_or_path=folder / "mlm", reading_frames=3))
    return folder


def test_both_stages(trained: Path) -> None:
    pretrained = json.loads((trained / "mlm" / "config.json").read_text())
    assert (pretrained["kmer_stride"], pretrained["n_training_rows"]) == (3, 28)  # 31 of 60 rows, a tenth held out
    assert pretrained["flanks"] == {"left": "ACGTACGTTTGACA", "right": "GGTTACGGCTGTTA", "length": 9, "carried": [0, 0]}
    assert pretrained["sequence_length"] == [42, 42]  # 24 + 2 x 9 bases
    saved = json.loads((trained / "out" / "config.json").read_text())
    assert (saved["model_type"], saved["n_frames"], saved["kmer_stride"]) == ("kmer_bert", 3, 1)
    assert saved["flanks"] == pretrained["flanks"]
    assert (trained / "out" / "modeling_kmer_regression.py").is_file()
    assert "flanks" in (trained / "out" / "README.md").read_text()


def test_weights_come_from_the_pretraining(trained: Path, tmp_path: Path) -> None:
    arguments = flags(
        trained / "a.tsv", tmp_path / "out", model_name_or_path=trained / "mlm", reading_frames=3, learning_rate=0
    )
    run_finetune_regression.main(arguments)
    weights = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").state_dict()
    before = run_pretrain_mlm.AutoModelForMaskedLM.from_pretrained(trained / "mlm").state_dict()
    shared = [name for name in weights if name in before]
    assert len(shared) == len(weights) - 4  # all but the pooler and the head
    assert all(torch.equal(weights[name], before[name]) for name in shared)


ELSEWHERE = """
import json, sys
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
torch.set_num_threads(1)
folder, *sequences = sys.argv[1:]
try:
    AutoModelForSequenceClassification.from_pretrained(folder)
    error = ""
except ValueError as problem:
    error = str(problem)
model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
batch = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)(sequences, return_tensors="pt")
with torch.no_grad():
    facts = [error, type(model).__name__, model(**batch).logits[:, 0].tolist()]
print("", json.dumps(facts), sep="\\n")  # below the question whether remote code may run
assert "modeling_kmer_regression" not in sys.modules
"""


def test_loads_elsewhere_as_remote_code_and_never_as_a_plain_bert(trained: Path, tmp_path: Path) -> None:
    """In another folder and process, where nothing of this repository can be imported."""
    rows = random_dna(np.random.default_rng(5), 3, 42)
    here = pipeline("text-classification", model=str(trained / "out"), trust_remote_code=True)
    command = [sys.executable, "-c", ELSEWHERE, str(trained / "out"), *rows]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert ended.returncode == 0, ended.stderr[-2000:]
    error, name, predictions = json.loads(ended.stdout.splitlines()[-1])
    assert "trust_remote_code" in error
    assert name == "KmerBertForSequenceClassification"
    assert predictions == pytest.approx([answer["score"] for answer in here(rows)], abs=1e-5)
