"""The k-mer tokenizer against hand-computed ids, an independent reference, transformers' own path and its Rust twin."""

import doctest
import itertools
import json
import logging
import os
import pickle
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, PreTrainedTokenizer
from transformers.tokenization_utils_base import TruncationStrategy
from transformers.utils import PaddingStrategy

import tokenization_kmer
from tests.support.messages import check_message, fails
from tokenization_kmer import KmerTokenizer

SETTINGS = [
    *[(k, 1, "ATCG") for k in range(1, 9)],
    *[(k, k, "ATCG") for k in (2, 6)],
    *[(3, 2, "ATCG"), (6, 4, "ATCG"), (3, 1, "ACGTN"), (3, 1, "MASK"), (2, 1, "TA")],
]
HARD_TEXTS = [
    *[
        "",
        "A",
        "ACGTA",
        "ACGTAC",
        "acgtACGtt",
        "NACGTACGTANACGTACGT",
        "NNNNNNNN",
        " ACGTACGT\n",
        "ACG TACGTACGTA",
        "\t \n",
    ],
    *["ACGTACG[MASK]ACGTACC", " ACGTACG [MASK] ACGTACCA[SEP]ACGTACG", "[UNK]ACGTACGT[mask]ACGTACGT", "[PAD][CLS]"],
    *["ACGT-CGTACGTA", "ACGTACG\u00e9TACGTACG\u0130TACGTAC\U0001f9ecGTACGT", "ACGTACGTA\x1c", "A.CGTACGT,ACGTAC"],
]


def reference_ids(text: str, k: int, stride: int, alphabet: str) -> list[int]:
    """Ids of plain DNA without special tokens, written as differently from the tokenizer as possible."""
    order = {"".join(kmer): 5 + rank for rank, kmer in enumerate(itertools.product(alphabet, repeat=k))}
    text = "".join(c.upper() if c.isascii() else "?" for c in text.strip(" \t\r\n\f\v"))
    return [order.get(text[i : i + k], 1) for i in range(0, len(text) - k + 1, stride)]


def random_texts(n: int, alphabet: str = "ACGT", longest: int = 60, seed: int = 0) -> list[str]:
    """Texts of random length, some of them with lower case and letters outside the alphabet."""
    generator = random.Random(seed)
    pools = [alphabet, alphabet + alphabet.lower(), alphabet * 6 + "N", alphabet * 6 + "-n "]
    return ["".join(generator.choices(generator.choice(pools), k=generator.randint(0, longest))) for _ in range(n)]


class SlowTokenizer(KmerTokenizer):
    """The same tokenizer without the vectorised path of `tokenizer(...)`."""

    _encode_plus = PreTrainedTokenizer._encode_plus


@pytest.fixture(scope="module")
def tokenizer() -> KmerTokenizer:
    return KmerTokenizer()


@pytest.fixture(scope="module")
def saved_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    KmerTokenizer(k=3, model_max_length=77).save_pretrained(folder)
    config = BertConfig(
        vocab_size=69, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=1
    )
    BertForMaskedLM(config).save_pretrained(folder)
    return folder


def test_ids_are_those_of_dnabert(tokenizer: KmerTokenizer) -> None:
    ids = tokenizer.encode_ids(["AAAAAA", "TGCATT", "GGGGGG"])
    assert ids.tolist() == [[2, 5, 3], [2, 1930, 3], [2, 4100, 3]]
    assert len(tokenizer) == tokenizer.vocab_size == 4101 and tokenizer.get_vocab()["TGCATT"] == 1930
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3, 4]) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert len(KmerTokenizer(k=3, alphabet="ATCGN")) == 130
    # A=0 T=1: AT is 0*4+1, TT is 1*4+1; with the alphabet ACGT, T is 3: AT is 3, TT is 15.
    assert KmerTokenizer(k=2).encode_ids(["ATT"], False).tolist() == [[6, 10]]
    assert KmerTokenizer(k=2, alphabet="ACGT").encode_ids(["ATT"], False).tolist() == [[8, 20]]


@pytest.mark.parametrize(("k", "stride", "alphabet"), SETTINGS)
def test_every_path_gives_the_reference_ids(k: int, stride: int, alphabet: str) -> None:
    tokenizer = KmerTokenizer(k, stride, alphabet, errors="replace")
    rust = tokenizer._rust_tokenizer()
    texts = [*random_texts(60, alphabet), *random_texts(2, alphabet, 2000, seed=1)]
    expected = [[2, *reference_ids(text, k, stride, alphabet), 3] for text in texts]
    padded = np.zeros((len(texts), max(map(len, expected))), int)
    for row, ids in enumerate(expected):
        padded[row, : len(ids)] = ids
    assert np.array_equal(tokenizer.encode_ids(texts), padded)
    assert tokenizer(texts)["input_ids"] == expected
    assert [tokenizer.encode(text) for text in texts] == expected
    assert [encoding.ids for encoding in rust.encode_batch(texts)] == expected
    for text in HARD_TEXTS:
        assert tokenizer(text)["input_ids"] == rust.encode(text).ids, text
        if "[" not in text:
            assert tokenizer.encode_ids([text], False)[0].tolist() == reference_ids(text, k, stride, alphabet), text


def test_large_batches_need_several_blocks() -> None:
    texts, tokenizer = random_texts(9000, longest=110), KmerTokenizer(errors="replace")
    ids, few = tokenizer.encode_ids(texts), [0, 2400, 4799, 8999]
    assert len(texts) * 110 > 3 * tokenization_kmer.BLOCK_BASES
    for row in few:
        alone = tokenizer.encode_ids([texts[row]])[0]
        assert np.array_equal(ids[row, : len(alone)], alone) and not ids[row, len(alone) :].any()


def test_dtype_shape_and_kind_of_input(tokenizer: KmerTokenizer) -> None:
    for k, dtype in ((1, np.int8), (3, np.int8), (4, np.int16), (6, np.int16), (7, np.int16), (8, np.int32)):
        ids = KmerTokenizer(k).encode_ids(["G" * k])
        assert ids.dtype == dtype and ids.tolist() == [[2, 4**k + 4, 3]]
    assert KmerTokenizer(3, alphabet="ATCGN").encode_ids(["NNN"]).dtype == np.int16
    assert tokenizer.encode_ids([]).shape == (0, 2) and tokenizer.encode_ids(["", "AC"], False).shape == (2, 0)
    for sequences in ("ACGTAC", ("ACGTAC",), np.array(["ACGTAC"]), np.array(["ACGTAC"], object), iter(["ACGTAC"])):
        assert tokenizer.encode_ids(sequences).tolist() == [[2, 727, 3]]
    assert KmerTokenizer(errors="replace").encode_ids(["ACGTAC[MASK]"], False).tolist() == [[727, 1, 1, 1, 1, 1, 1]]
    with fails("sequence 1", "None"):
        tokenizer.encode_ids(["ACGT", None])


def test_very_long_sequence(tokenizer: KmerTokenizer) -> None:
    text = "".join(random.Random(0).choices("ACGT", k=1_000_000))
    ids = tokenizer.encode_ids([text, "ACGTAC"])
    assert ids.shape == (2, 999_997) and ids[0, -2] == reference_ids(text[-6:], 6, 1, "ATCG")[0]
    assert tokenizer.decode(ids[0, :1000], skip_special_tokens=True) == text[:1004]


def test_too_long_for_the_model_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not caplog: whether and how often it sees the library's records depends on the variable CI.
    messages: list[str] = []
    tokenizer, logger = KmerTokenizer(), logging.getLogger("transformers.tokenization_utils_base")
    monkeypatch.setattr(logger, "warning", messages.append)
    assert tokenizer.model_max_length == 512 and KmerTokenizer(model_max_length=99).model_max_length == 99
    tokenizer("A" * 515)
    assert not messages
    tokenizer(["A" * 516, "A" * 516])
    tokenizer("A" * 999)
    assert [message.count("513 > 512") for message in messages] == [1]
    assert len(tokenizer("A" * 999, truncation=True)["input_ids"]) == 512


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"k": 0}, ("`k` 0", "1 to 8")),
        ({"k": 9}, ("`k` 9", "1 to 8")),
        ({"k": 2.0}, ("`k` 2.0", "1 to 8")),
        ({"k": "6"}, ("`k` '6'", "1 to 8")),
        ({"k": 3, "stride": 4}, ("`stride` 4", "1 to 3")),
        ({"stride": 0}, ("`stride` 0", "1 to 6")),
        ({"alphabet": "A"}, ("`alphabet` 'A'", "2 or more")),
        ({"alphabet": "ACCT"}, ("`alphabet` 'ACCT'", "distinct")),
        ({"alphabet": "acgt"}, ("`alphabet` 'acgt'", "A-Z")),
        ({"alphabet": "AC-T"}, ("`alphabet` 'AC-T'", "A-Z")),
        ({"alphabet": ["A", "C"]}, ("`alphabet` ['A', 'C']", "A-Z")),
        ({"k": 8, "alphabet": "ACDEFG"}, ("`alphabet` 'ACDEFG'", "2**20")),
        ({"mask_token": "<mask>"}, ("`mask_token` '<mask>'", "'[MASK]'")),
    ],
)
def test_settings_are_checked(arguments: dict, parts: tuple[str, ...]) -> None:
    with fails(*parts):
        KmerTokenizer(**arguments)


def test_counts_and_spans() -> None:
    for k, stride, alphabet in SETTINGS:
        tokenizer = KmerTokenizer(k, stride, alphabet)
        counts = [len(reference_ids("A" * n, k, stride, alphabet)) for n in range(30)]
        assert [tokenizer.n_tokens(n) for n in range(30)] == counts
        assert tokenizer.n_tokens(np.arange(30).reshape(5, 6)).ravel().tolist() == counts
        text = "".join(random.Random(k).choices(alphabet, k=29))
        assert [text[start:end] for start, end in tokenizer.token_spans(29)] == tokenizer.tokenize(text)
        assert tokenizer.token_spans(k - 1).shape == (0, 2)


def test_pairs_are_bert_pairs(tokenizer: KmerTokenizer) -> None:
    encoding = tokenizer("ACGTACG", "AAAAAA")
    assert encoding["input_ids"] == [2, 727, 2896, 3, 5, 3]
    assert encoding["token_type_ids"] == [0, 0, 0, 0, 1, 1]
    assert tokenizer(["ACGTACG"], ["AAAAAA"])["input_ids"] == [encoding["input_ids"]]
    assert tokenizer.decode(encoding["input_ids"]) == "[CLS] ACGTACG [SEP] AAAAAA [SEP]"


@pytest.mark.parametrize(("k", "stride", "alphabet"), SETTINGS)
def test_decode_restores_dna(k: int, stride: int, alphabet: str) -> None:
    tokenizer = KmerTokenizer(k, stride, alphabet, errors="replace")
    rust = tokenizer._rust_tokenizer()
    for text in random_texts(40, alphabet, seed=2):
        clean = text.strip().upper()
        spans = tokenizer.token_spans(len(clean))
        known = np.zeros(len(clean), bool)
        for start, end in spans:
            known[start:end] |= set(clean[start:end]) <= set(alphabet)
        expected = "".join(c if is_known else "N" for c, is_known in zip(clean, known, strict=True))
        expected = expected[: spans[-1, 1] if len(spans) else 0]
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True) == expected
        assert tokenizer.decode(ids) == " ".join(filter(None, ["[CLS]", expected, "[SEP]"]))
        if 1 not in ids:
            for skip in (True, False):
                assert rust.decode(ids, skip_special_tokens=skip) == tokenizer.decode(ids, skip_special_tokens=skip)


def test_decode_by_hand() -> None:
    tokenizer = KmerTokenizer(k=3)
    spell = tokenizer.convert_tokens_to_string
    assert spell(["ACG", "CGT"]) == "ACGT"
    assert spell(["ACG", "AAA", "AAT"]) == "ACG AAAT"  # contradiction: a new run
    assert spell(["ACG", "[UNK]", "GTT"]) == "ACGTT"  # known neighbours spell the unknown window
    assert spell(["ACG", "[UNK]", "CTT"]) == "ACGN CTT"  # the third contradicts the first
    assert spell(["ACG", "[UNK]", "[UNK]", "[UNK]", "TTT"]) == "ACGNTTT"
    assert spell(["[UNK]"]) == "NNN" and spell([]) == ""
    assert spell(["ACG", "[MASK]", "CGT", "[PAD]", "[PAD]"]) == "ACG [MASK] CGT [PAD] [PAD]"
    assert KmerTokenizer(k=3, stride=2).decode([5, 6]) == "AAAAT" and tokenizer.decode(5) == "AAA"
    assert tokenizer.decode(np.array([[2, 5, 3], [2, 6, 3]]), skip_special_tokens=True) == ["AAA", "AAT"]
    assert tokenizer.batch_decode([[5, 5], [6]]) == ["AAAA", "AAT"]
    assert tokenizer.decode([5, 4, 6], skip_special_tokens=True) == "AAA AAT"
    assert tokenizer.decode([5000]) == "NNN"  # no such id
    tokenizer.add_tokens(["<end>"])
    assert tokenizer.decode(tokenizer("AAAA<end>TTT")["input_ids"]) == "[CLS] AAAA <end> TTT [SEP]"


def assert_same(fast: dict, slow: dict, case: str) -> None:
    assert set(fast) == set(slow), case
    for key, value in fast.items():
        assert type(value) is type(slow[key]), (case, key)
        if hasattr(value, "dtype"):
            assert value.dtype == slow[key].dtype, (case, key)
            value, other = ([np.asarray(row).tolist() for row in array] for array in (value, slow[key]))
            assert value == other, (case, key)
        else:
            assert value == slow[key], (case, key)


def test_vectorised_path_equals_transformers_own() -> None:
    batches = [
        ["ACGTACGTACG"] * 3, ["ACGTACGT"], ["ACGTACGTACGTAC", " ACGNACG", "", "acgt", "ACGTACGTAC\n"], ["AC", ""], [""],
        ("ACGTACGTA", "ACGTACGTT"), ["ACGTACG", "ACG[MASK]ACG"], [("ACGTACG", "ACGTA"), ("ACGTTT", "ACGTAC")],
        [["ACG", "CGT"]], [[5, 6, 7]], "ACGTACGTACG", " ACGNA", "ACG[MASK]ACGT", "AC", "", ["ACG" * 20, "ACGTA"],
    ]  # fmt: skip
    options = [
        {}, {"add_special_tokens": False}, {"padding": True}, {"padding": "max_length", "max_length": 12, "truncation": True},
        {"padding": "max_length"}, {"padding": True, "pad_to_multiple_of": 8}, {"max_length": 5}, {"max_length": 2, "truncation": True},
        {"truncation": True, "max_length": 6, "padding": "longest"}, {"truncation": "only_first", "max_length": 1},
        {"padding": True, "padding_side": "left"}, {"return_token_type_ids": False, "return_attention_mask": False},
        {"return_special_tokens_mask": True, "padding": True}, {"return_length": True, "padding": True}, {"return_length": True},
        {"max_length": 7, "return_overflowing_tokens": True}, {"padding": "max_length", "max_length": 3}, {"verbose": False}, {"padding": True, "padding_side": "up"},
        {"padding": "max_length", "max_length": 9, "pad_to_multiple_of": 4, "padding_side": "left", "truncation": True},
        {"split_special_tokens": True}, {"truncation": "only_second", "max_length": 4}, {"is_split_into_words": True},
    ]  # fmt: skip
    n_compared = 0
    for settings in ({}, {"truncation_side": "left", "padding_side": "left", "stride": 2}):
        fast, slow = (
            KmerTokenizer(k=3, model_max_length=16, errors="replace", **settings),
            SlowTokenizer(k=3, model_max_length=16, errors="replace", **settings),
        )
        for batch, option, tensors in itertools.product(batches, options, (None, "np", "pt")):
            case, results = f"{settings} {batch} {option} {tensors}", []
            if option.get("padding") and option.get("add_special_tokens", True) is False and batch == "":
                continue
            for tokenizer in (fast, slow):
                try:
                    results.append(tokenizer(batch, return_tensors=tensors, **option))
                except (ValueError, TypeError, AttributeError, AssertionError, IndexError) as error:
                    results.append(error)
            if isinstance(results[1], Exception):
                assert type(results[0]) is type(results[1]) and str(results[0]) == str(results[1]), case
            else:
                assert not isinstance(results[0], Exception), (case, results[0])
                assert_same(*results, case)
                n_compared += 1
    assert n_compared > 900


def test_usual_batches_are_vectorised(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = KmerTokenizer(k=3)
    monkeypatch.setattr(PreTrainedTokenizer, "_encode_plus", None)  # transformers' own path
    tokenizer("ACGTA")
    tokenizer(["ACGTA", "ACNTA"], return_tensors="np")
    tokenizer(["ACGTA", "ACGT"], padding=True, return_tensors="pt", truncation=True, return_offsets_mapping=True)
    with pytest.raises(TypeError):
        tokenizer("ACGTA", "ACGTA")


def test_offsets(tokenizer: KmerTokenizer) -> None:
    encoding = tokenizer("ACGTACGT", return_offsets_mapping=True)
    assert encoding["offset_mapping"] == [(0, 0), (0, 6), (1, 7), (2, 8), (0, 0)]
    for settings in ({}, {"truncation_side": "left"}):
        for stride in (1, 2, 3):
            tokenizer = KmerTokenizer(k=3, stride=stride, errors="replace", **settings)
            texts = ["  ACGTACGTAC ", "TTGCA", "AC", "\nGATTACAGATTACA"]
            for options in ({}, {"padding": True}, {"truncation": True, "max_length": 4, "padding": "max_length"}):
                encoding = tokenizer(texts, return_offsets_mapping=True, **options)
                for text, ids, spans in zip(texts, encoding["input_ids"], encoding["offset_mapping"], strict=True):
                    tokens = tokenizer.convert_ids_to_tokens(ids)
                    kmers = [token if len(token) == 3 else "" for token in tokens]
                    assert [text[start:end] for start, end in spans] == kmers
    arrays = KmerTokenizer(3)(["ACGT", "ACG"], return_offsets_mapping=True, padding=True, return_tensors="np")
    assert arrays["offset_mapping"].shape == (*arrays["input_ids"].shape, 2)
    for texts in ({"text": "ACGTA", "text_pair": "ACGTA"}, {"text": "ACG[MASK]ACG"}):
        with fails("plain DNA", error=NotImplementedError):
            tokenizer(**texts, return_offsets_mapping=True)


def test_ragged_list_with_one_long_text_stays_small(tokenizer: KmerTokenizer) -> None:
    ids = tokenizer(["ACGTACG"] * 200 + ["A" * 100_000], verbose=False)["input_ids"]
    assert ids[0] == [2, 727, 2896, 3] and len(ids[-1]) == 99_997


def test_added_tokens_are_found_and_saved_without_rust_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    KmerTokenizer(k=3).save_pretrained(tmp_path)
    tokenizer = KmerTokenizer(k=3)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<yeast>"]})
    assert tokenizer("<yeast>ACG")["input_ids"] == [2, 69, tokenizer.get_vocab()["ACG"], 3]
    with caplog.at_level(logging.WARNING):
        tokenizer.save_pretrained(tmp_path)
    assert "trust_remote_code=True" in caplog.text and not (tmp_path / "tokenizer.json").exists()
    assert KmerTokenizer.from_pretrained(tmp_path)("<yeast>ACG")["input_ids"] == tokenizer("<yeast>ACG")["input_ids"]


def test_saved_folder(saved_folder: Path, tmp_path: Path) -> None:
    config = json.loads((saved_folder / "tokenizer_config.json").read_text())
    assert config["errors"] == "strict"
    assert (config["k"], config["stride"], config["alphabet"], config["model_max_length"]) == (3, 1, "ATCG", 77)
    assert config["auto_map"]["AutoTokenizer"] == ["tokenization_kmer.KmerTokenizer", None]
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert (saved_folder / "tokenization_kmer.py").read_text() == Path(tokenization_kmer.__file__).read_text()
    assert (saved_folder / "vocab.txt").read_text().split()[:6] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "AAA"]
    KmerTokenizer(k=4, stride=2, alphabet="ACGTN", padding_side="left").save_pretrained(tmp_path / "a")
    again = KmerTokenizer.from_pretrained(tmp_path / "a")
    again.save_pretrained(tmp_path / "b")
    for tokenizer in (again, KmerTokenizer.from_pretrained(tmp_path / "b")):
        assert (tokenizer.k, tokenizer.stride, tokenizer.alphabet, tokenizer.padding_side) == (4, 2, "ACGTN", "left")
    assert str(tmp_path) not in "".join(path.read_text() for path in (tmp_path / "b").iterdir())


def test_pushing_uploads_the_same_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pushed = {}

    def upload(self: KmerTokenizer, folder: str, repo_id: str, *args: object, **kwargs: object) -> None:
        pushed[repo_id] = {p.name: json.loads(p.read_text()) for p in Path(folder).glob("*.json")}
        pushed[repo_id] |= dict.fromkeys(p.name for p in Path(folder).glob("*.[pt][yx]*"))

    class Api:
        def create_repo(self, repo_id: str, **kwargs: object) -> object:
            return type("Url", (), {"repo_id": repo_id})()

    monkeypatch.setattr(KmerTokenizer, "_upload_modified_files", upload)

    class Card:
        def save(self, path: str) -> None:
            Path(path).write_text("card")

    monkeypatch.setattr("transformers.tokenization_utils_base.hf_api", Api)
    monkeypatch.setattr("transformers.utils.hub.hf_api", Api)
    monkeypatch.setattr("transformers.utils.hub.create_and_tag_model_card", lambda *args, **kwargs: Card())
    KmerTokenizer(k=2).save_pretrained(tmp_path, push_to_hub=True, repo_id="somebody/saved")
    KmerTokenizer(k=2).push_to_hub("somebody/pushed")
    assert set(pushed) == {"somebody/saved", "somebody/pushed"}
    for files in pushed.values():
        assert files["tokenizer_config.json"]["tokenizer_class"] == "PreTrainedTokenizerFast"
        assert {"tokenizer.json", "tokenization_kmer.py", "vocab.txt"} <= set(files)


def test_stock_class_reads_the_folder_and_agrees(saved_folder: Path) -> None:
    ours, stock = KmerTokenizer.from_pretrained(saved_folder), AutoTokenizer.from_pretrained(saved_folder)
    assert stock.is_fast and type(stock).__name__ != "KmerTokenizer" and stock.model_max_length == 77
    n_alike = n_errors = 0
    for text in (*random_texts(100, seed=3), *HARD_TEXTS):
        try:
            expected = dict(ours(text))
        except ValueError:
            n_errors += 1
            if text.strip():  # of an empty text the stock class sees nothing
                with fails("fewer than 3 bases", error=Exception):
                    stock(text)
        else:
            n_alike += 1
            assert dict(stock(text)) == expected, text
    assert n_alike > 60
    assert n_errors > 20
    assert dict(stock("ACGT", "AAAC")) == dict(ours("ACGT", "AAAC"))
    batch = ["ACGTA", "ACGTACGTAC"]
    assert_same(
        stock(batch, padding=True, return_tensors="np"), ours(batch, padding=True, return_tensors="np"), "stock"
    )


ELSEWHERE = """
import json, sys
from transformers import AutoTokenizer, pipeline
import torch
torch.set_num_threads(1)
folder, texts, results = sys.argv[1], json.loads(sys.argv[2]), {}
for trust in (False, True):
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
    fill = pipeline("fill-mask", model=folder, tokenizer=tokenizer, top_k=2)
    classify = pipeline("text-classification", model=folder, tokenizer=tokenizer, function_to_apply="none")
    results[trust] = [type(tokenizer).__name__, tokenizer(texts)["input_ids"]]
    results[trust] += [fill("ACGTACG[MASK]GTTAC"), len(classify(texts[:3])), tokenizer.decode(tokenizer("ACGTT")["input_ids"])]
assert "tokenization_kmer" not in sys.modules
print(json.dumps(results))
"""


def test_another_process_elsewhere_loads_the_folder(saved_folder: Path, tmp_path: Path) -> None:
    """Without the repository on its path, with and without trust_remote_code, and in pipelines."""
    texts = ["ACGTACGT", "acgnACGT", "ACG", "ACGTA[MASK]ACG"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", ELSEWHERE, str(saved_folder), json.dumps(texts)]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    stock, ours = json.loads(run.stdout.strip().splitlines()[-1]).values()
    assert ours[0] == "KmerTokenizer" and stock[0] != "KmerTokenizer"
    assert ours[1] == stock[1] == KmerTokenizer(k=3)(texts)["input_ids"]
    for one, other in zip(ours[2], stock[2], strict=True):
        assert one["token"] == other["token"] and one["score"] == pytest.approx(other["score"], rel=1e-5)
    assert ours[3] == stock[3] == 3
    assert ours[4] == stock[4] == "[CLS] ACGTT [SEP]"


@pytest.mark.parametrize(("k", "alphabet"), [(3, "ATCG"), (2, "ACGTN"), (3, "AUCG"), (1, "ATCG")])
def test_a_text_means_the_same_by_every_route(k: int, alphabet: str, tmp_path: Path) -> None:
    """RNA, case, whitespace around and IUPAC codes; the reference spells the text out first."""
    tokenizer = KmerTokenizer(k, alphabet=alphabet)
    tokenizer.save_pretrained(tmp_path)
    stock = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("ACGUUGCA", "acguugca", "\tGGAUCC\n", "GGARCCSTA", "uuuyuuu", "ACGTNACG"):
        plain = text.strip().upper().translate(str.maketrans("UYRS", "TNNN"))
        plain = plain.replace("T", "U") if "U" in alphabet else plain
        expected = [2, *reference_ids(plain, k, 1, alphabet), 3]
        assert tokenizer(text)["input_ids"] == tokenizer([text])["input_ids"][0] == expected, text
        assert tokenizer.encode_ids([text]).tolist() == [expected]
        assert tokenizer.encode(text) == stock(text)["input_ids"] == expected
        masked = f"{text}[MASK]{text}"
        assert tokenizer(masked)["input_ids"] == stock(masked)["input_ids"] == [*expected[:-1], 4, *expected[1:]]


BAD_TEXTS = [
    ("MKVLAAGI", ("'L'", "base 4:")),
    ("ACGT ACGTA", ("' '", "base 5:")),
    ("ACG CGT GTA", ("k-mers", "ACGTA")),
    ("ACGT-ACG", ("'-'", "base 5:")),
    ("<human>ACGT", ("'<'", "base 1:")),
    ("AC", ("2 of the 3 bases",)),
    (" C\n", ("1 of the 3 bases",)),
    ("", ("0 of the 3 bases",)),
]


@pytest.mark.parametrize(("text", "parts"), BAD_TEXTS)
def test_what_is_not_dna_or_too_short(text: str, parts: tuple[str, ...], caplog: pytest.LogCaptureFixture) -> None:
    strict, warning, silent = (KmerTokenizer(3, errors=errors) for errors in ("strict", "warn", "replace"))
    for call in (strict, strict.encode_ids, strict.encode):
        with fails(repr(text.strip()), *parts):
            call(text)
    with fails(repr(text.strip()), *parts):
        strict(["ACGTA", text])
    for call in (partial(strict, padding=True), strict.encode_ids):
        with fails("text 2 of 3", repr(text.strip()), *parts):
            call(["ACGTA", text, "CCCCC"])
    ids = silent(text)["input_ids"]
    assert not caplog.text
    assert warning(text)["input_ids"] == ids == silent._rust_tokenizer().encode(text).ids
    (message,) = caplog.messages
    check_message(message, repr(text.strip()), *parts)
    if text.strip():
        with fails("3 bases", error=Exception):
            strict._rust_tokenizer().encode(text)


def test_bad_texts_with_unusual_options() -> None:
    """These take transformers' own path."""
    tokenizer = KmerTokenizer(3)
    for arguments in ({"text_pair": "ACGT"}, {"return_length": True}, {"add_special_tokens": False}):
        for text in ("ACGE", "AC"):
            with fails(repr(text)):
                tokenizer(text, **arguments)
    with fails("'AC'", "2 of the 3 bases"):
        tokenizer("ACGTA[MASK]AC")
    with fails("`errors` 'ignore'", "strict, warn, replace"):
        KmerTokenizer(errors="ignore")


def test_longer_texts_can_be_asked_for(tmp_path: Path) -> None:
    KmerTokenizer(3, min_bases=5).save_pretrained(tmp_path)
    ours, stock = KmerTokenizer.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert ours("ACGTA")["input_ids"] == stock("ACGTA")["input_ids"]
    for call in (ours, ours.encode_ids):
        with fails("'ACGT'", "4 of the 5 bases"):
            call("ACGT")
    with fails("fewer than 5 bases", error=Exception):
        stock("ACGT")


def test_padding_on_the_left_is_an_error() -> None:
    left = KmerTokenizer(3, padding_side="left")
    rows = ["ACGTACG", "ACGT"]
    for call in (
        lambda: left(rows, padding=True),
        lambda: KmerTokenizer(3)(rows, padding=True, padding_side="left"),
        lambda: left.pad({"input_ids": left(rows)["input_ids"]}),
        lambda: left("ACGT", padding="max_length", max_length=9),
        lambda: left("ACGT[MASK]", padding="max_length", max_length=9),
    ):
        with fails("`padding_side` left", "right"):
            call()
    assert left(rows, padding=True, add_special_tokens=False)["input_ids"][1][:3] == [0, 0, 0]
    assert left(rows[:1] * 2, padding=True) == KmerTokenizer(3)(rows[:1] * 2, padding=True)


FLANKS = {"left": "GGATCCTTAGCATGCA", "right": "CCATGGTACTTAAGTT", "length": 6, "carried": [0, 0]}


def test_flanks_go_around_every_text(tmp_path: Path) -> None:
    plain = KmerTokenizer(3)
    KmerTokenizer(3, flanks=FLANKS).save_pretrained(tmp_path)
    with pytest.raises((ValueError, OSError)):  # the stock class cannot put them on
        AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=False)
    tokenizer = KmerTokenizer.from_pretrained(tmp_path)
    inserts = ["ACGTAC", "ttu\n", "NNRA"]
    expected = plain(["CATGCAACGTACCCATGG", "CATGCATTTCCATGG", "CATGCANNNACCATGG"])["input_ids"]
    assert tokenizer(inserts)["input_ids"] == [tokenizer(insert)["input_ids"] for insert in inserts] == expected
    padded = tokenizer(inserts, padding=True, return_tensors="np")["input_ids"]
    assert np.array_equal(tokenizer.encode_ids(inserts), padded)
    assert padded[1].tolist() == [*expected[1], 0, 0, 0]
    # What a text has of them already is not repeated.
    assert tokenizer("GGATCCTTAGCATGCAACGTACCCATGGTACTTAAGTT")["input_ids"] == expected[0]
    masked = tokenizer("ACG[MASK]TAC")["input_ids"]
    assert masked == tokenizer(["ACG [MASK] TAC"])["input_ids"][0] == plain("CATGCAACG[MASK]TACCCATGG")["input_ids"]
    assert tokenizer("ACGTAC", add_special_tokens=False)["input_ids"] == plain("ACGTAC")["input_ids"][1:-1]
    for call in (tokenizer, tokenizer.encode_ids):
        with fails("text 2 of 2", "'ACGQ'", "base 4:"):
            call(["ACGT", "ACGQ"])
    with fails("flanks", "pairs"):
        tokenizer("ACGT", "ACGT")


def test_what_flanks_are_not_put_around() -> None:
    """No insert at all, or a special token among the plasmid's bases, which would then be read as an insert."""
    left, right = "TTGACCAGTAGGCATCGA", "CAATTCGGTCATGGCTTA"
    for carried in ([0, 0], [12, 14]):
        tokenizer = KmerTokenizer(3, flanks={"left": left, "right": right, "length": 15, "carried": carried})
        whole = left[-12:] + "CCGTTTAAACGGATC" + right[:14]
        for text in ("", " \n", "[MASK]"):
            with fails(f"text {text!r}", "no bases", "flanks"):
                tokenizer(text)
        with fails("text 2 of 2", "no bases"):
            tokenizer.encode_ids(["ACG", ""])
        for start in (0, 2, 6, len(whole) - 10, len(whole) - 3):  # in the first and last bases, before them, after them
            masked = whole[:start] + "[MASK]" + whole[start + 3 :]
            with fails(masked[:30], "special token", "flanks"):
                tokenizer([whole, masked])
        for masked in ("CCG[MASK]AAACGGATC", "[MASK]TTTAAACGGATC", "CCGTTTAAACGG[MASK]"):
            bare, promoter = tokenizer([masked, left[-12:] + masked + right[:14]])["input_ids"]
            assert bare == promoter == KmerTokenizer(3)(left[-15:] + masked + right[:15])["input_ids"]
    with fails("'CCG[MASK]AAA'", "letter '['", "base 4:"):
        tokenizer.encode_ids(["CCG[MASK]AAA"])


def old_call(tokenizer: KmerTokenizer, texts: list, **options: object) -> dict:
    """`tokenizer(list)` as transformers 4.57 does it: another method, whose result has no batch axis added."""
    given = {"padding_strategy": PaddingStrategy.DO_NOT_PAD, "truncation_strategy": TruncationStrategy.DO_NOT_TRUNCATE}
    return dict(tokenizer._batch_encode_plus(batch_text_or_text_pairs=texts, **given | options))


def test_the_call_path_of_transformers_4(tokenizer: KmerTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, lists have a method of their own, and special tokens are asked for by `build_inputs_with_special_tokens`."""
    batch = ["ACGTACGTA", "ACGTAC", "ACGTACG[MASK]ACGTACG"]
    assert old_call(tokenizer, batch[:2]) == dict(tokenizer(batch[:2]))
    assert old_call(tokenizer, batch[:2], padding_strategy=PaddingStrategy.LONGEST) == dict(
        tokenizer(batch[:2], padding=True)
    )

    def batch_path(self: KmerTokenizer, texts: list[str], **options: object) -> dict:
        return {
            "input_ids": [
                self.build_inputs_with_special_tokens(self.encode(text, add_special_tokens=False)) for text in texts
            ]
        }

    monkeypatch.setattr(PreTrainedTokenizer, "_batch_encode_plus", batch_path, raising=False)
    assert (
        old_call(tokenizer, batch)["input_ids"]
        == tokenizer(batch)["input_ids"]
        == [tokenizer(text)["input_ids"] for text in batch]
    )
    assert tokenizer.build_inputs_with_special_tokens([7, 8], [9]) == [2, 7, 8, 3, 9, 3]
    assert tokenizer.get_special_tokens_mask([7, 8], [9]) == [1, 0, 0, 1, 0, 1]
    assert tokenizer.get_special_tokens_mask([2, 7, 3], already_has_special_tokens=True) == [1, 0, 1]


def test_pickle(tokenizer: KmerTokenizer) -> None:
    assert pickle.loads(pickle.dumps(tokenizer))("ACGTACG") == tokenizer("ACGTACG")


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(tokenization_kmer)
    assert result.attempted >= 2 and not result.failed
