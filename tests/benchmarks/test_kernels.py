"""The benchmark of kernels at toy size: every trick can be switched off, what it measures is there, commands are valid."""

from pathlib import Path

import pytest
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

import run_pretrain_mlm
from benchmarks.speed import kernels as program
from kmerbert.models import kernels

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 69}


def test_a_recipe_at_toy_size(capsys: pytest.CaptureFixture) -> None:
    table = program.main(["--recipes", "smoke_mlm", "--steps", "2", "--batch_size", "2", "--rounds", "1"])
    assert list(table["smoke_mlm"]) == [program.ALL_ON, "attention", "oneDNN", "masked"]
    assert all(0 < seconds < 10 for seconds in table["smoke_mlm"].values())
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("smoke_mlm ")
    assert line.count("(") == 3


def test_without_first_token() -> None:
    model = BertForSequenceClassification(BertConfig(**SIZES, num_labels=1))
    layer = model.bert.encoder.layer[-1]
    with kernels.fast_kernels([model], bf16=False):
        assert "forward" in vars(layer)
    with program.TRICKS["first token"](), kernels.fast_kernels([model], bf16=False):
        assert "forward" not in vars(layer)


def test_without_attention() -> None:
    model = BertForSequenceClassification(BertConfig(**SIZES, num_labels=1))
    with kernels.fast_kernels([model], bf16=True):
        assert model.config._attn_implementation == "eager"
    with program.TRICKS["attention"](), kernels.fast_kernels([model], bf16=True):
        assert model.config._attn_implementation == "sdpa"


def test_without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "onednn_is_exact", lambda: True)
    model = BertForSequenceClassification(BertConfig(**SIZES, num_labels=1))
    precision = program.torch.get_float32_matmul_precision
    default = precision()
    with kernels.fast_kernels([model], bf16=False):
        assert precision() == "medium" != default
    with program.TRICKS["oneDNN"](), kernels.fast_kernels([model], bf16=False):
        assert precision() == default


def test_without_the_choice_of_masked_tokens() -> None:
    model = BertForMaskedLM(BertConfig(**SIZES))
    with program.TRICKS["masked"]():
        run_pretrain_mlm.score_masked_tokens(model)
    assert not model._forward_pre_hooks
    run_pretrain_mlm.score_masked_tokens(model)
    assert model._forward_pre_hooks


def test_the_best_round_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([5.0, 9.0, 4.0, 10.0])
    monkeypatch.setattr(program, "seconds_of_step", lambda *_: next(times))
    recipe = program.Recipe(run_pretrain_mlm, "", 2, ("oneDNN",))
    assert program.measure(recipe, 2, steps=1, rounds=2, bf16=False) == {program.ALL_ON: 4.0, "oneDNN": 9.0}


def test_onednn_has_no_part_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "seconds_of_step", lambda *_: 1.0)
    recipe = program.Recipe(run_pretrain_mlm, "", 2, ("attention", "oneDNN"))
    assert program.measure(recipe, 2, steps=1, rounds=1, bf16=True) == {program.ALL_ON: 1.0, "attention": 1.0}


@pytest.mark.parametrize("name", program.RECIPES)
def test_every_recipe_is_a_valid_command(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = program.RECIPES[name]
    parse, parsed = recipe.script.parse, []

    class Parsed(Exception):
        """Raised instead of training."""

    def stop(*args: object, **kwargs: object) -> None:
        parsed.extend(parse(*args, **kwargs))
        raise Parsed

    monkeypatch.setattr(recipe.script, "parse", stop)
    with pytest.raises(Parsed):
        program.seconds_of_step(recipe, tmp_path, batch_size=5, steps=7, bf16=True)
    data, _, training = parsed
    assert data.train_file == str(tmp_path / "rows.tsv")
    assert (data.validation_split_percentage, data.validation_rows, data.test_rows) == (0, None, None)
    assert (training.max_steps, training.per_device_train_batch_size) == (7 + program.SKIPPED, 5)
    assert training.bf16 and training.use_cpu and training.eval_strategy == "no"
    assert set(recipe.tricks) <= set(program.TRICKS)
