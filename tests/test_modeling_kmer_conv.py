"""modeling_kmer_conv: both strands, padding without effect, embeddings of sub-k-mers, masked tokens, saving and loading."""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    Trainer,
    TrainingArguments,
    pipeline,
)

import modeling_kmer_conv
import run_finetune_regression
import run_predict
import run_pretrain_mlm
from kmerbert.dna.sequences import reverse_complement
from kmerbert.models.outputs import rescale_outputs, score_masked_tokens
from modeling_kmer_conv import (
    KmerConvConfig,
    KmerConvForMaskedLM,
    KmerConvForSequenceClassification,
    KmerConvModel,
    KmerEmbedding,
    _pairs,
    reverse_complement_ids,
)
from tests.support.graphs import batch, exported, onnx_graph
from tests.support.messages import check_message, fails
from tests.support.tiny_runs import flags, planted_table, random_dna
from tokenization_kmer import KmerTokenizer

SIZES = {
    "embedding_size": 8,
    "hidden_size": 16,
    "num_stages": 2,
    "head_size": 16,
    "kernel_size": 3,
    "stem_kernel_size": 5,
}
NETWORK = ",".join(f"{name}={value}" for name, value in SIZES.items())


def build(tokenizer: KmerTokenizer, **settings: object) -> KmerConvForSequenceClassification:
    """A network whose statistics are not those of a new one."""
    torch.manual_seed(0)
    kmers = {"vocab_size": len(tokenizer), "kmer_k": tokenizer.k, "kmer_alphabet": tokenizer.alphabet, "num_labels": 1}
    model = KmerConvForSequenceClassification(KmerConvConfig(**SIZES | kmers | settings))
    with torch.no_grad():
        for _ in range(30):
            model(torch.randint(5, len(tokenizer), (32, 22)))
    return model.eval()


@pytest.mark.parametrize(("k", "alphabet"), [(6, "ATCG"), (3, "ACGT"), (2, "ATCGN"), (1, "ATCG")])
def test_the_other_strand_is_that_of_the_letters(k: int, alphabet: str) -> None:
    tokenizer, random = KmerTokenizer(k, alphabet=alphabet), np.random.default_rng(k)
    rows = ["".join(random.choice(list(alphabet), n)) for n in (30, 17, k, 30)] + ["ACGN" + "A" * 12 + "C"]
    given, other = (
        tokenizer(strands, padding=True, return_tensors="pt") for strands in (rows, list(map(reverse_complement, rows)))
    )
    assert torch.equal(
        reverse_complement_ids(given["input_ids"], given["attention_mask"], k, alphabet), other["input_ids"]
    )
    whole = tokenizer(rows[:1], return_tensors="pt")["input_ids"]
    assert torch.equal(reverse_complement_ids(whole, None, k, alphabet), other["input_ids"][:1])


def test_an_alphabet_must_have_the_complements() -> None:
    with fails("alphabet ACT", " G:", "ATCG"):
        reverse_complement_ids(torch.tensor([[2, 5, 3]]), None, 1, "ACT")


def test_settings_are_checked() -> None:
    with fails("stride 2", "kmer_conv", "stride 1"):
        KmerConvModel(KmerConvConfig(kmer_stride=2))
    with fails("vocab_size 4101", "k = 3", "ATCG", "69"):
        KmerConvModel(KmerConvConfig(kmer_k=3))
    with fails(" 8, 11", "odd"):
        KmerConvModel(KmerConvConfig(kernel_size=8))
    with fails("num_hidden_layers", "kmer_conv", "num_stages, num_blocks"):
        KmerConvConfig(num_hidden_layers=2)


def test_facts_in_a_configuration_are_saved_and_are_no_settings(tmp_path: Path) -> None:
    config = KmerConvConfig(**SIZES, num_labels=2, id2label={0: "leaf", 1: "root"})
    config.update({"label_unit": "bin", "flanks": {"left": "AC", "length": 1}, "data_name": "a.tsv"})
    config.save_pretrained(tmp_path)
    again = KmerConvConfig.from_pretrained(tmp_path)
    assert (again.label_unit, again.flanks, again.data_name) == ("bin", {"left": "AC", "length": 1}, "a.tsv")
    assert {name: getattr(again, name) for name in SIZES} == SIZES
    assert (again.num_labels, again.id2label) == (2, {0: "leaf", 1: "root"})
    with fails("label_unit"):
        KmerConvConfig(label_unit="bin")


def test_what_transformers_itself_writes_is_no_unknown_setting(tmp_path: Path) -> None:
    build(KmerTokenizer(3)).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved.keys() >= {"architectures", "auto_map", "dtype", "model_type", "transformers_version"}
    again = KmerConvConfig.from_dict(saved)
    for config in (again, KmerConvConfig(**saved), KmerConvConfig(**again.to_dict())):
        assert config.to_dict() == again.to_dict()
        assert {name: getattr(config, name) for name in SIZES} == SIZES


def test_both_strands_are_answered_alike() -> None:
    tokenizer, rows = KmerTokenizer(3), random_dna(np.random.default_rng(0), 6, 40)
    given, other = (
        tokenizer(strands, return_tensors="pt")["input_ids"] for strands in (rows, list(map(reverse_complement, rows)))
    )
    both, one = build(tokenizer), build(tokenizer, both_strands=False)
    one.load_state_dict(both.state_dict())
    with torch.no_grad():
        result, forward, backward = both(given).logits, one(given).logits, one(other).logits
    assert torch.allclose(result, (forward + backward) / 2, atol=1e-6)
    assert not torch.allclose(forward, backward, atol=1e-2)


def test_training_reads_a_random_strand_of_each_row() -> None:
    """Without dropout and with fixed statistics, a row's output is that of one strand or of the other."""
    tokenizer, row = KmerTokenizer(3), random_dna(np.random.default_rng(0), 1, 40)
    given, other = (
        tokenizer([strand], return_tensors="pt")["input_ids"] for strand in (row[0], reverse_complement(row[0]))
    )
    both, one = build(tokenizer, hidden_dropout_prob=0.0), build(tokenizer, both_strands=False)
    one.load_state_dict(both.state_dict())
    both.training = True  # of the model alone: its norms keep their statistics
    with torch.no_grad():
        result = both(given.expand(200, -1)).logits
        strands = torch.cat([one(given).logits, one(other).logits])
    is_forward, is_backward = (torch.isclose(result, strand, atol=1e-6) for strand in strands)
    assert (is_forward ^ is_backward).all()
    assert 70 < is_forward.sum() < 130  # 100 +- 4 standard errors


@pytest.mark.parametrize("both_strands", [True, False])
def test_padding_changes_nothing(both_strands: bool) -> None:
    tokenizer, random = KmerTokenizer(3), np.random.default_rng(0)
    model = build(tokenizer, both_strands=both_strands, num_labels=2)
    rows = [random_dna(random, 1, n)[0] for n in (40, 39, 38, 37, 21, 6, 3)]
    batch = tokenizer(rows, padding=True, return_tensors="pt")
    with torch.no_grad():
        together = model(**batch).logits
        alone = torch.cat([model(tokenizer(row, return_tensors="pt")["input_ids"]).logits for row in rows])
    assert together.shape == (7, 2)
    assert torch.allclose(together, alone, atol=1e-5)
    assert together.std(dim=0).min() > 1e-3


def test_a_kmer_is_the_sum_of_what_is_in_its_middle() -> None:
    tokenizer = KmerTokenizer(3)
    embedding = KmerEmbedding(KmerConvConfig(**SIZES, vocab_size=len(tokenizer), kmer_k=3))
    index = {letter: number for number, letter in enumerate("ATCG")}
    ids = torch.tensor([[0, 1, 2, 3, 4, *tokenizer.convert_tokens_to_ids(["TCG", "AAA"])]])
    result = embedding(ids)[0]
    assert not result[:5].any()
    one, two, three = (part.weight for part in embedding.parts)
    t, c, g = (index[letter] for letter in "TCG")
    assert torch.allclose(result[5], one[c] + two[4 * t + c] + three[16 * t + 4 * c + g])
    assert torch.allclose(result[6], one[0] + two[0] + three[0])
    plain = KmerEmbedding(KmerConvConfig(**SIZES, vocab_size=len(tokenizer), kmer_k=3, sub_kmers=False))
    assert torch.equal(plain(ids)[0, 5:], plain.parts[0].weight[ids[0, 5:] - 5])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_maxima_of_pairs_by_hand(dtype: torch.dtype) -> None:
    """Padding is never the larger one, not even next to what is negative."""
    values = torch.tensor([[[-0.25, -0.125, -0.5, 3.0]]], dtype=dtype)
    assert _pairs(values, None)[0].tolist() == [[[-0.125, 3.0]]]
    assert _pairs(values[..., :3], None)[0].tolist() == [[[-0.125, -0.5]]]
    result, mask = _pairs(values, torch.tensor([[[1.0, 1.0, 1.0, 0.0]]]))
    assert (result.tolist(), mask.tolist()) == ([[[-0.125, -0.5]]], [[[1.0, 1.0]]])
    result, mask = _pairs(values, torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]))
    assert (result.tolist(), mask.tolist()) == ([[[-0.25, 0.0]]], [[[1.0, 0.0]]])


def test_masked_tokens_are_scored_as_all_are() -> None:
    tokenizer = KmerTokenizer(3)
    model = KmerConvForMaskedLM(KmerConvConfig(**SIZES, vocab_size=len(tokenizer), kmer_k=3)).eval()
    score_masked_tokens(model)
    batch = tokenizer(["ACGTACGTAC", "ACGTAC"], padding=True, return_tensors="pt")
    with torch.no_grad():
        every = model(**batch).logits
        result = model(**batch, masked=torch.tensor([1, 8, 12]))
    assert every.shape == (2, 10, len(tokenizer))
    assert torch.allclose(result["logits"], every.flatten(0, 1)[[1, 8, 12]], atol=1e-6)
    assert result["masked"].tolist() == [1, 8, 12]


def test_every_weight_of_a_masked_language_model_comes_back(tmp_path: Path) -> None:
    """Two layers of one name, in the network and in the head, were exchanged."""
    model = KmerConvForMaskedLM(KmerConvConfig(**SIZES, vocab_size=69, kmer_k=3))
    for weight in model.parameters():
        torch.nn.init.normal_(weight)
    model.save_pretrained(tmp_path)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in model.state_dict().items())


def test_a_position_sees_its_neighbours_alone() -> None:
    """The scores at a position change with a token in reach, and the stages reach over 4 positions and more."""
    tokenizer = KmerTokenizer(2)
    config = KmerConvConfig(**SIZES, vocab_size=len(tokenizer), kmer_k=2)
    model, ids = KmerConvForMaskedLM(config).eval(), torch.randint(5, len(tokenizer), (1, 102))
    changed = ids.clone()
    changed[0, 50] = 5 + (ids[0, 50] - 4) % 16
    with torch.no_grad():
        moved = (model(ids).logits - model(changed).logits).abs().amax(dim=2)[0]
    reached = torch.nonzero(moved > 1e-7).flatten()
    assert reached.min() < 46
    assert reached.max() > 54
    assert reached.min() > 15
    assert reached.max() < 85


def test_pretrained_fine_tuned_predicted_and_loaded_elsewhere(tmp_path: Path) -> None:
    """From DNA to predictions by the scripts, then by `pipeline`, which answers the same."""
    table = planted_table(tmp_path / "table.tsv")
    network = {"model_type": "kmer_conv", "config_overrides": NETWORK}
    run_pretrain_mlm.main(flags(table, tmp_path / "mlm", **network))
    run_finetune_regression.main(
        flags(table, tmp_path / "model", model_name_or_path=tmp_path / "mlm", num_train_epochs=2)
    )
    assert type(AutoModelForMaskedLM.from_pretrained(tmp_path / "mlm")) is KmerConvForMaskedLM
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert type(model) is KmerConvForSequenceClassification
    output = tmp_path / "predictions.tsv"
    arguments = {"model_name_or_path": tmp_path / "model", "input_file": table, "output_file": output}
    run_predict.main([f"--{name}={value}" for name, value in arguments.items()])
    rows = [line.split("\t") for line in output.read_text().splitlines()[1:]]
    predict = pipeline("text-classification", model=str(tmp_path / "model"), trust_remote_code=True)
    for _, sequence, prediction, *_ in rows[:5]:
        assert predict(sequence, function_to_apply="none")[0]["score"] == pytest.approx(float(prediction), abs=1e-4)


def test_biases_and_norms_do_not_decay(tmp_path: Path) -> None:
    """The Trainer knows norms by their names."""
    model = build(KmerTokenizer(3))
    decays = set(Trainer(model, TrainingArguments(tmp_path, use_cpu=True)).get_decay_parameter_names(model))
    norms = {name for name, module in model.named_modules() if isinstance(module, torch.nn.BatchNorm1d)}
    every = {name for name, _ in model.named_parameters()}
    assert decays == {name for name in every if "bias" not in name and name.rpartition(".")[0] not in norms}


@pytest.mark.parametrize("both_strands", [True, False])
def test_padding_may_be_on_the_left(both_strands: bool) -> None:
    tokenizer, random = KmerTokenizer(3), np.random.default_rng(0)
    model = build(tokenizer, both_strands=both_strands, num_labels=2)
    masked = KmerConvForMaskedLM(model.config).eval()
    batch = tokenizer([random_dna(random, 1, n)[0] for n in (40, 21, 6)], padding=True, return_tensors="pt")
    shifts = (batch["attention_mask"] == 0).sum(dim=1).tolist()
    left = {
        name: torch.stack([row.roll(n) for row, n in zip(rows, shifts, strict=True)]) for name, rows in batch.items()
    }
    with torch.no_grad():
        torch.testing.assert_close(model(**left).logits, model(**batch).logits)
        for network in (masked, model.network):
            ours, theirs = network(**left)[0], network(**batch)[0]
            for row, n in enumerate(shifts):
                torch.testing.assert_close(ours[row, n:], theirs[row, : ours.shape[1] - n])


def test_embeddings_and_hidden_states() -> None:
    """Those of a stage come from its own outputs, a token at a time; [CLS] has the mean over the k-mers."""
    tokenizer = KmerTokenizer(3)
    model = build(tokenizer)
    rows = random_dna(np.random.default_rng(0), 2, 24)
    batch = tokenizer([rows[0], rows[1][:13]], padding=True, return_tensors="pt")
    with torch.no_grad():
        outputs = model.network(**batch, output_hidden_states=True)
        alone = model.network(**tokenizer(rows[1][:13], return_tensors="pt"))
        stages, _ = model.network.read(batch["input_ids"][:1], None)
        states = model(**batch, output_hidden_states=True).hidden_states
        as_tuple = model(**batch, return_dict=False, output_hidden_states=True)
        masked = KmerConvForMaskedLM(model.config).eval()(**batch, output_hidden_states=True)
        embedded = model.network(
            inputs_embeds=model.get_input_embeddings()(batch["input_ids"]), attention_mask=batch["attention_mask"]
        )
    assert [tuple(state.shape) for state in outputs.hidden_states] == [(2, 24, 8), (2, 24, 12), (2, 24, 16)]
    assert torch.equal(outputs.hidden_states[-1], outputs.last_hidden_state)
    for token in range(1, 23):
        torch.testing.assert_close(outputs.last_hidden_state[0, token], stages[2][0, :, (token - 1) // 4])
    torch.testing.assert_close(outputs.pooler_output, outputs.last_hidden_state[:, 0])
    torch.testing.assert_close(outputs.last_hidden_state[0, 0], outputs.last_hidden_state[0, 1:23].mean(dim=0))
    torch.testing.assert_close(outputs.last_hidden_state[1, :13], alone.last_hidden_state[0])
    assert not outputs.last_hidden_state[1, 13:].any()
    torch.testing.assert_close(embedded.last_hidden_state, outputs.last_hidden_state)
    assert len(as_tuple) == 2
    for mine, theirs in zip(states, outputs.hidden_states, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert len(masked.hidden_states) == 3


@pytest.mark.parametrize("both_strands", [True, False])
def test_linear_term(both_strands: bool, tmp_path: Path) -> None:
    """Every output becomes output * factor + the sum over the k-mers + shift, again and again, and so does what is saved."""
    tokenizer, k = KmerTokenizer(2), 2
    model = build(tokenizer, num_labels=2, both_strands=both_strands)
    rows = ["ACGTACGGTT", "GATTACA", "ACNNNNGT"]
    batch = tokenizer(rows, padding=True, return_tensors="pt")
    random = np.random.default_rng(0)
    values = {"".join(kmer): random.normal(size=2) for kmer in product("ATCG", repeat=k)}
    with torch.no_grad():
        expected = model(**batch).logits.numpy()
    for factor, shift in (([0.5, 2.0], [0.0, 1.0]), ([0.8, 0.0], [-1.0, 0.5])):
        numbers = np.array([[0, 0]] * 5 + [values[kmer] for kmer in tokenizer.convert_ids_to_tokens(range(5, 21))])
        model.add_linear_term(*(torch.tensor(part) for part in (numbers, factor, shift)))
        strands = [[row, reverse_complement(row)] if both_strands else [row] for row in rows]
        sums = [
            np.mean([sum(values.get(s[i : i + k], 0) for i in range(len(s) - k + 1)) for s in pair], axis=0)
            for pair in strands
        ]
        expected = expected * factor + np.array(sums) + shift
        with torch.no_grad():
            np.testing.assert_allclose(model(**batch).logits, expected, atol=1e-5)
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert not list(again.linear_term.parameters())
    with torch.no_grad():
        np.testing.assert_allclose(again(**batch).logits, expected, atol=1e-5)
    with fails("`inputs_embeds`"):
        again(inputs_embeds=torch.zeros(1, 8, 8))
    rescale_outputs(again, [3, 1], [1, 0])
    with torch.no_grad():
        np.testing.assert_allclose(again(**batch).logits, expected * [3, 1] + [1, 0], atol=1e-5)


def test_a_new_linear_term_is_nothing_and_is_not_trained() -> None:
    model = build(KmerTokenizer(2), linear_term=True)
    assert not model.linear_term.weight.any()
    model.train()(torch.randint(5, 21, (4, 12)), labels=torch.ones(4, 1)).loss.backward()
    assert model.classifier.weight.grad.abs().sum() > 0


def test_options_are_honoured_or_refused() -> None:
    tokenizer = KmerTokenizer(3)
    model = build(tokenizer)
    batch = tokenizer("ACGTACGTAC", return_tensors="pt")
    with fails("`output_attentions`"):
        model(**batch, output_attentions=True)
    with fails("`inputs_embeds`"):
        model(inputs_embeds=torch.zeros(1, 8, 8))
    with pytest.raises(TypeError):
        model(**batch, position_ids=batch["input_ids"])
    with fails("0 k-mers", " 1"):
        model(input_ids=torch.tensor([[2, 3]]))
    with fails("0 k-mers", " 1"):
        model(input_ids=torch.tensor([[2, 9, 3], [2, 3, 0]]), attention_mask=torch.tensor([[1, 1, 1], [1, 1, 0]]))
    assert model.get_input_embeddings().weight.shape == (69, 8)
    assert model.resize_token_embeddings(69) is model.get_input_embeddings() is model.network.embedding
    with fails("70 token ids", "69"):
        model.resize_token_embeddings(70)
    other = KmerEmbedding(model.config)
    model.set_input_embeddings(other)
    assert model.network.embedding is other
    model.config.problem_type = "single_label_classification"
    with fails("`problem_type`", "regression"):
        model(**batch, labels=torch.tensor([[1]]))


@pytest.mark.parametrize("kind", ["outputs", "embeddings", "scores"])
def test_a_graph_holds_for_other_lengths(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exported at one number of rows and tokens, padding included."""
    model = build(KmerTokenizer(3))
    model = {"outputs": model, "embeddings": model.network}.get(kind) or KmerConvForMaskedLM(model.config).eval()
    graphs = [onnx_graph(model, *lengths, monkeypatch=monkeypatch) for lengths in ((33, 20), (18, 7, 12))]
    assert graphs[0] == graphs[1]
    if kind == "embeddings":  # their positions are repeated as those of scores are
        return
    program = exported(model, 33, 20, 7)
    with torch.no_grad():
        for lengths in ((33, 9), (34, 12, 5, 30), (18,), (15, 16), (22, 14), (23,)):
            inputs = batch(*lengths)
            torch.testing.assert_close(program(*inputs), model(*inputs)[0], rtol=0, atol=1e-5)


def test_rows_without_ends_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """The tokens at the ends are not read, and a second sequence is not what the network was trained with."""
    tokenizer = KmerTokenizer(3)
    model = build(tokenizer)
    caplog.clear()
    model(*batch(12, 9))
    assert not caplog.text
    for inputs in (tokenizer("ACGTACGT", add_special_tokens=False), tokenizer("ACGTACGT", "ACGTTT")):
        type(modeling_kmer_conv.logger).warning_once.cache_clear()
        caplog.clear()
        model(**inputs.convert_to_tensors("pt", prepend_batch_axis=True))
        check_message(caplog.messages[0], "[CLS]", "[SEP]", "`tokenizer(sequence)`")


def test_a_tuned_adapter_is_loaded_as_it_was(tmp_path: Path) -> None:
    """It is saved without the norms' statistics, which therefore stay as they are, also in training."""
    tokenizer = KmerTokenizer(3)
    build(tokenizer).save_pretrained(tmp_path / "base")
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    adapter = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["dense"], modules_to_save=["classifier"])
    tuned = get_peft_model(base, adapter).train()
    batch = tokenizer(random_dna(np.random.default_rng(0), 8, 40), return_tensors="pt")
    optimizer = torch.optim.SGD([weight for weight in tuned.parameters() if weight.requires_grad], lr=0.1)
    for _ in range(5):
        tuned(**batch, labels=torch.linspace(-1, 1, 8)[:, None]).loss.backward()
        optimizer.step()
    tuned.save_pretrained(tmp_path / "adapter")
    fresh = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    again = PeftModel.from_pretrained(fresh, tmp_path / "adapter").eval()
    with torch.no_grad():
        torch.testing.assert_close(again(**batch).logits, tuned.eval()(**batch).logits)
        assert (again(**batch).logits - build(tokenizer)(**batch).logits).abs().max() > 1e-3


ELSEWHERE = """
import json, sys
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline
answers = []
for folder in sys.argv[1:3]:
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    batch = tokenizer(["ACGTACGTAC", "GGATC"], padding=True, return_tensors="pt")
    with torch.no_grad():
        answers.append(model(**batch).logits[:, 0].tolist())
    embed = pipeline("feature-extraction", model=folder, trust_remote_code=True)
    answers[-1].append(len(embed("ACGTACGTAC")[0]))
print(json.dumps(answers))
"""


def test_each_repository_runs_its_own_code(tmp_path: Path) -> None:
    """Two folders in one process, one of which adds 100; `AutoModel` gives embeddings of every token."""
    for name in ("first", "second"):
        build(KmerTokenizer(3)).save_pretrained(tmp_path / name)
        KmerTokenizer(3).save_pretrained(tmp_path / name)
    code = tmp_path / "second" / "modeling_kmer_conv.py"
    changed = code.read_text().replace(".mean(dim=0), None, None", ".mean(dim=0) + 100, None, None")
    assert changed != code.read_text()
    code.write_text(changed)
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "first"), str(tmp_path / "second")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "HF_HOME": str(tmp_path / "home")
    }
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    first, second = json.loads(run.stdout.splitlines()[-1])
    assert second[:2] == pytest.approx([value + 100 for value in first[:2]], abs=1e-4)
    assert first[2] == second[2] == 10


def test_a_trusted_repository_runs_its_own_code_next_to_the_imported_one(tmp_path: Path) -> None:
    """transformers 5 prefers the classes that a program has registered."""
    tokenizer = KmerTokenizer(3)
    model, inputs = build(tokenizer), tokenizer("ACGTTGCATC", return_tensors="pt")
    model.save_pretrained(tmp_path)
    (tmp_path / "modeling_kmer_conv.py").rename(tmp_path / "modeling_other.py")
    code, config = tmp_path / "modeling_other.py", tmp_path / "config.json"
    config.write_text(config.read_text().replace('"modeling_kmer_conv.', '"modeling_other.'))
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path, trust_remote_code=True)
    assert type(loaded) is KmerConvForSequenceClassification  # the same code
    code.write_text(code.read_text().replace("(dim=0), None, None", "(dim=0) + 100, None, None"))
    with torch.no_grad():
        for trust, added in ((True, 100), (False, 0)):
            loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path, trust_remote_code=trust).eval()
            torch.testing.assert_close(loaded(**inputs).logits, model(**inputs).logits + added)


def test_low_rank_updates_train() -> None:
    """With peft (LoRA), a step changes the updates and the copy of the head, and nothing else."""
    tokenizer = KmerTokenizer(3)
    adapter = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["dense"], modules_to_save=["classifier"])
    model = get_peft_model(build(tokenizer), adapter).train()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    batch = tokenizer(random_dna(np.random.default_rng(0), 8, 40), return_tensors="pt")
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=0.1)
    model(**batch, labels=torch.linspace(-1, 1, 8)[:, None]).loss.backward()
    optimizer.step()
    changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    copy = "base_model.model.classifier.modules_to_save.default"
    # The other factor of an update, lora_A, has no gradient in the first step, because lora_B is still zero.
    assert changed == {"base_model.model.dense.lora_B.default.weight", f"{copy}.weight", f"{copy}.bias"}


def test_a_batch_of_one_row_can_be_trained_on() -> None:
    torch.manual_seed(0)
    settings = {"embedding_size": 8, "hidden_size": 16, "num_stages": 2, "head_size": 16, "vocab_size": 69, "kmer_k": 3}
    model = KmerConvForSequenceClassification(KmerConvConfig(**settings, num_labels=1)).train()
    ids = torch.tensor([[2, *range(5, 25), 3]])
    model(ids, labels=torch.ones(1, 1)).loss.backward()
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters() if weight.grad is not None)
    assert model.dense_norm.running_mean.eq(0).all()  # one row has no variance to learn from
