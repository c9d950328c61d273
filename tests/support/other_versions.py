"""Do other releases of transformers read what is saved here, and with the same result? Run by `make test-all`.

    python -m tests.support.other_versions write FOLDER
    ENVIRONMENT/bin/python tests/support/other_versions.py check FOLDER

The first command saves small models of every kind and what they answer; the second loads them in any other environment,
with and without trust_remote_code, in lists, batches and pipelines, and compares ids and predictions. It imports
nothing of this project.
"""

import json
import logging
import sys
from itertools import product
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer, pipeline

TEXTS = ["ACGTACGTACGTTGCA", "ggaucuuacgn", " TTGACATTGACA\n", "ACGTRACGT", "GGATCCAGGATCCAGGATCCATTA"]
MASKED = "ACGTACG[MASK]GTTACGG"
NOT_DNA = ["MKVLAAGIVG", "ACGT ACGT", "ACGT<human>", "AC"]
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
CONVOLUTIONS = {"embedding_size": 8, "hidden_size": 16, "num_stages": 2, "head_size": 16}
FLANKS = {"left": "GGATCCTTAGCATGCA", "right": "CCATGGTACTTAAGTT", "length": 12, "carried": [0, 0]}
TOLERANCE = 1e-4  # between releases; a wrong token moves these models by 1e-2 and more


def write(folder: Path) -> None:
    """Saves the models, and what this environment makes of them."""
    from kmerbert.models.loading import load_config, load_model, load_tokenizer, tokenizer_for
    from modeling_kmer_ensemble import KmerEnsembleForSequenceClassification
    from modeling_kmer_regression import KmerBertConfig

    kinds = {
        "bert": ("bert", SIZES, {"problem_type": "regression"}, AutoModelForSequenceClassification),
        "two_outputs": (
            "bert",
            SIZES,
            {"problem_type": "regression", "num_labels": 2},
            AutoModelForSequenceClassification,
        ),
        "modernbert": ("modernbert", SIZES, {"problem_type": "regression"}, AutoModelForSequenceClassification),
        "flanks": ("bert", SIZES, {"problem_type": "regression"}, AutoModelForSequenceClassification),
        "frames": ("bert", SIZES, {"problem_type": "regression"}, AutoModelForSequenceClassification),
        "kmer_conv": ("kmer_conv", CONVOLUTIONS, {"problem_type": "regression"}, AutoModelForSequenceClassification),
        "ensemble": ("kmer_conv", CONVOLUTIONS, {"problem_type": "regression"}, AutoModelForSequenceClassification),
        "bert_mlm": ("bert", SIZES, {}, AutoModelForMaskedLM),
        "kmer_conv_mlm": ("kmer_conv", CONVOLUTIONS, {}, AutoModelForMaskedLM),
    }
    for name, (model_type, sizes, settings, auto_class) in kinds.items():
        tokenizer = load_tokenizer(k=3)
        overrides = ",".join(f"{size}={value}" for size, value in sizes.items())
        settings = {"num_labels": 1} | settings
        config = load_config(tokenizer, model_type=model_type, config_overrides=overrides, **settings)
        if name == "flanks":
            config.flanks = FLANKS
        if name == "frames":
            config = KmerBertConfig.from_bert(config, 3)
        torch.manual_seed(1)
        members = [load_model(auto_class, config) for _ in range(2 if name == "ensemble" else 1)]
        model = members[0] if len(members) == 1 else KmerEnsembleForSequenceClassification.from_members(members)
        for weight in model.parameters():  # as far from zero as after training
            torch.nn.init.normal_(weight, std=0.3)
        model.save_pretrained(folder / name)
        tokenizer_for(model, tokenizer).save_pretrained(folder / name)
        is_stock = model_type != "kmer_conv" and name != "frames"
        facts = {"is_stock": is_stock, "has_stock_tokenizer": name != "flanks", "is_masked": name.endswith("mlm")}
        answers = answer(folder / name, facts, trust=True)
        (folder / f"{name}.json").write_text(json.dumps(facts | answers))


def answer(folder: Path, facts: dict[str, Any], trust: bool) -> dict[str, Any]:
    """Ids and predictions of a folder, by several ways that must agree."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
    ids = tokenizer(TEXTS)["input_ids"]
    assert ids == [tokenizer(text)["input_ids"] for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    padded = tokenizer(TEXTS, padding=True, return_tensors="pt")
    for row, mask, expected in zip(padded["input_ids"], padded["attention_mask"], ids, strict=True):
        assert row[: len(expected)].tolist() == expected, "padded ids"
        assert int(mask.sum()) == len(expected), "attention mask"
    for text in NOT_DNA[: len(NOT_DNA) if facts["has_stock_tokenizer"] else -1]:  # flanks make a short text longer
        try:
            tokenizer(text)
        except Exception as error:  # noqa: BLE001 (the stock tokenizer has no class of its own)
            assert "\n" not in str(error)
        else:
            raise AssertionError(f"{text!r} was read")
    if facts["is_masked"]:
        model = AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=trust)
        fill = pipeline("fill-mask", model=model, tokenizer=tokenizer, top_k=3)
        return {"ids": ids, "filled": [[best["token"], best["score"]] for best in fill(MASKED)]}
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=trust).eval()
    with torch.no_grad():
        together = model(**padded).logits
        alone = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in TEXTS])
    assert torch.allclose(together, alone, atol=TOLERANCE), "padding changes predictions"
    predict = pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None)
    for options in ({}, {"batch_size": 3}):
        for row, scores in zip(together.tolist(), predict(TEXTS, **options), strict=True):
            by_name = {score["label"]: score["score"] for score in scores}
            for output, value in enumerate(row):
                assert abs(by_name[model.config.id2label[output]] - value) < TOLERANCE, "pipeline"
    if folder.name != "ensemble":  # whose members have one each
        embed = pipeline("feature-extraction", model=str(folder), tokenizer=tokenizer, trust_remote_code=trust)
        assert [len(embed(text)[0]) for text in TEXTS] == [len(row) for row in ids], "embeddings"
    return {"ids": ids, "predictions": together.tolist()}


def check(folder: Path) -> bool:
    """Prints a line for each folder; returns whether all of them give what was written."""
    is_right = True
    for path, trust in product(sorted(folder.glob("*.json")), (True, False)):
        expected = json.loads(path.read_text())
        must_fail = not trust and not (expected["is_stock"] and expected["has_stock_tokenizer"])
        try:
            answers = answer(path.with_suffix(""), expected, trust)
        except Exception as error:  # noqa: BLE001 (whatever goes wrong belongs into the table)
            is_refusal = must_fail and not isinstance(error, AssertionError)
            problem = "" if is_refusal else f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        else:
            problem = "loaded without its code" if must_fail else difference(answers, expected)
        is_right &= not problem
        result = problem or ("refused" if must_fail else "equal")
        print(f"transformers {transformers.__version__}, trust_remote_code={trust!s:5}, {path.stem}: {result}")
    return is_right


def difference(answers: dict[str, Any], expected: dict[str, Any]) -> str:
    """What differs, or nothing."""
    if answers["ids"] != expected["ids"]:
        return "other ids"
    name = "filled" if "filled" in expected else "predictions"
    largest = (torch.tensor(answers[name]) - torch.tensor(expected[name])).abs().max().item()
    return f"{name} differ by {largest:.2g}" if largest > TOLERANCE else ""


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    command, target = sys.argv[1:]
    if command == "write":
        write(Path(target))
    elif not check(Path(target)):
        sys.exit(1)
