"""Overlapping k-mer tokenizer for DNA, at numpy speed, for any `transformers` program.

Knows nothing of any project: `save_pretrained` and `push_to_hub` copy this file next to the settings. They also write a
`tokenizer.json` with the same ids: `AutoTokenizer.from_pretrained` gives this class with `trust_remote_code=True`, and
without it a slower stock one, whose offsets cover one base per token and whose `decode` drops `[UNK]`.
It does not read files, reverse-complement, or split long sequences.
"""

import itertools
import json
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import BatchEncoding, PreTrainedTokenizer

logger = logging.getLogger(__name__)

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP = range(4)
N_SPECIAL = len(SPECIAL_TOKENS)  # the ids of k-mers begin here
N_ADDED = 2  # [CLS] and [SEP] around every sequence
WHITESPACE = " \t\r\n\f\v"
BLOCK_BASES = 2**18  # letters tokenised at a time: their temporary arrays stay in the L2 cache
UNUSUAL_OPTIONS = ("is_split_into_words", "return_overflowing_tokens", "return_length", "sanitize_control_tokens")


class KmerTokenizer(PreTrainedTokenizer):
    """Cuts DNA into k-mers, one every `stride` bases, and numbers them.

    Ids: `[PAD]` 0, `[UNK]` 1, `[CLS]` 2, `[SEP]` 3, `[MASK]` 4, then every k-mer in the product order of the alphabet
    as given, last letter fastest: `ATCG` with k=6 is DNABERT's vocabulary (doi:10.1093/bioinformatics/btab083).

    Lower case is read as upper case; whitespace around a sequence is ignored. A window with a letter outside the
    alphabet (or whitespace) is `[UNK]`. A text shorter than k has no k-mers, only `[CLS]` and `[SEP]`. With stride > 1,
    bases after the last whole window are not tokenised. Any length is accepted; transformers warns once above
    `model_max_length` (default 512 tokens). `tokenizer(...)` reads `[MASK]` and the other special tokens in a text as
    themselves, and the DNA on both sides separately; `encode_ids` does not.

    Args:
        k: Letters per k-mer, 1 to 8.
        stride: Bases from the start of one k-mer to the start of the next, 1 to k.
        alphabet: Two or more distinct letters A to Z, with at most 2**20 k-mers in all.
        **kwargs: As for any `PreTrainedTokenizer`; the five special tokens cannot be renamed.

    Raises:
        ValueError: k, stride, alphabet or a special token is not as described above.
    """

    _auto_class = "AutoTokenizer"  # all that register_for_auto_class() would do after importing torch
    model_input_names = ("input_ids", "token_type_ids", "attention_mask")

    def __init__(self, k: int = 6, stride: int = 1, alphabet: str = "ATCG", **kwargs: Any) -> None:
        for name, value, most in (("k", k, 8), ("stride", stride, k)):
            if not isinstance(value, int) or not 1 <= value <= most:
                raise ValueError(f"`{name}` {value!r}: allowed are whole numbers from 1 to {most}")
        n_letters = len(set(alphabet)) if re.fullmatch("[A-Z]{2,}", str(alphabet)) else 0
        if n_letters < max(2, len(alphabet)) or n_letters**k > 2**20:
            raise ValueError(
                f"`alphabet` {alphabet!r}: allowed are 2 or more distinct letters A-Z, at most 2**20 k-mers"
            )
        for token in SPECIAL_TOKENS:
            name = f"{token[1:-1].lower()}_token"
            if str(kwargs.setdefault(name, token)) != token:
                raise ValueError(f"`{name}` {str(kwargs[name])!r}: allowed is {token!r}, whose id is fixed")
        self.k, self.stride, self.alphabet = k, stride, alphabet
        self._tokens = [*SPECIAL_TOKENS, *map("".join, itertools.product(alphabet, repeat=k))]
        self._ids = {token: index for index, token in enumerate(self._tokens)}
        self._id_dtype = np.min_scalar_type(-len(self._tokens))
        kwargs = {"model_max_length": 512, **kwargs, "special_tokens_pattern": "cls_sep"}
        super().__init__(k=k, stride=stride, alphabet=alphabet, **kwargs)

    @property
    def vocab_size(self) -> int:
        """Number of ids: five special tokens and all k-mers, without tokens added later."""
        return len(self._tokens)

    def get_vocab(self) -> dict[str, int]:
        """Returns every token with its id, tokens added later included."""
        return {**self._ids, **self._added_tokens_encoder}

    def n_tokens(self, n_bases: int | np.ndarray) -> int | np.ndarray:
        """Number of k-mers in sequences of `n_bases` letters (int, or int array of any shape), no special tokens."""
        counts = np.maximum(0, (np.asarray(n_bases) - self.k) // self.stride + 1)
        return counts if counts.ndim else int(counts)

    def token_spans(self, n_bases: int) -> np.ndarray:
        """Bases covered by each k-mer, without special tokens: int64 (n_tokens, 2), 0-based, half open.

        >>> KmerTokenizer(k=3, stride=2).token_spans(7).tolist()
        [[0, 3], [2, 5], [4, 7]]
        """
        return np.arange(self.n_tokens(n_bases))[:, None] * self.stride + np.array([0, self.k])

    def encode_ids(self, sequences: Sequence[str], add_special_tokens: bool = True) -> np.ndarray:
        """Tokenises many sequences of plain DNA at once, millions of short ones per second on one core.

        Args:
            sequences: n strings of any lengths, or one. Special tokens in them are letters outside the alphabet.
            add_special_tokens: Put `[CLS]` before and `[SEP]` after each sequence.

        Returns:
            Array (n, tokens of the longest sequence), `[PAD]` (0) on the right of shorter ones, of the smallest signed
            integer type that holds the vocabulary (ATCG: int8 to k=3, int16 to k=7, int32 for k=8).

        Raises:
            ValueError: One of `sequences` is not a string.

        >>> KmerTokenizer(k=2).encode_ids(["AATG", "CN"]).tolist()
        [[2, 5, 6, 12, 3], [2, 1, 3, 0, 0]]
        """
        sequences = [sequences] if isinstance(sequences, str) else list(sequences)
        try:
            return self._encode_rows(sequences, int(add_special_tokens))
        except TypeError:  # checking every type beforehand would cost a tenth of the speed
            row, bad = next((row, value) for row, value in enumerate(sequences) if not isinstance(value, str))
            raise ValueError(f"sequence {row}, counted from 0, is {bad!r}; allowed are strings of DNA") from None

    def _encode_rows(self, sequences: list[str], first: int) -> np.ndarray:
        """What `encode_ids` returns; `first` is the column of the first k-mer: 1 with special tokens, 0 without."""
        is_ragged = len(set(map(len, sequences))) > 1
        lengths = np.array([len(sequence) for sequence in (sequences if is_ragged else sequences[:1])], np.int64)
        longest = int(lengths.max(initial=0))
        n_kmers, most_kmers = self.n_tokens(lengths), self.n_tokens(longest)
        ids = (np.zeros if is_ragged else np.empty)((len(sequences), most_kmers + 2 * first), self._id_dtype)
        if first:
            ids[:, 0] = CLS
            ids[np.arange(len(ids)) if is_ragged else slice(None), n_kmers + 1] = SEP
        n_rows, padding = max(1, BLOCK_BASES // max(1, longest)), self.alphabet[0]
        for start in range(0, len(sequences), n_rows):
            rows = slice(start, start + n_rows)
            block = sequences[rows]
            if is_ragged:
                # Any letter will do: no k-mer that overlaps the padding is used.
                block = [sequence.ljust(longest, padding) for sequence in block]
            codes = self._letter_codes("".join(block) + padding * (self.k - 1))
            has_unknown = codes.max(initial=0) >= len(self.alphabet)
            # Stripping all sequences beforehand would cost a third of the speed, for whitespace that is rarely there.
            if has_unknown and any(sequence != sequence.strip(WHITESPACE) for sequence in sequences[rows]):
                return self._encode_rows([sequence.strip(WHITESPACE) for sequence in sequences], first)
            windows = self._window_ids(codes, has_unknown).reshape(len(block), longest)
            is_kmer = np.arange(most_kmers) < n_kmers[rows, None] if is_ragged else True
            strided = windows[:, : most_kmers * self.stride : self.stride]
            np.copyto(ids[rows, first : first + most_kmers], strided, where=is_kmer)
        return ids

    def _letter_codes(self, text: str) -> np.ndarray:
        """Each letter's position in the alphabet, uint8 (len(text),); 255 for a letter outside it."""
        letters = np.frombuffer(text.encode("latin-1", "replace"), np.uint8) & np.uint8(0xDF)  # upper case
        codes, is_letter = np.full(len(letters), 255, np.uint8), np.empty(len(letters), np.uint8)
        for rank, letter in enumerate(self.alphabet.encode(), 1):  # faster than bytes.translate for a few letters
            np.equal(letters, letter, out=is_letter.view(bool))
            codes += np.multiply(is_letter, np.uint8(rank), out=is_letter)  # 255 + rank is rank - 1 in a byte
        return codes

    def _window_ids(self, codes: np.ndarray, has_unknown: bool) -> np.ndarray:
        """Ids of the k-mers that start at each of n letters, from uint8 (n + k - 1,), 255 for an unknown letter: (n,)."""
        base = len(self.alphabet)
        numbers = {1: codes}  # by n: n letters as a number in this base, stored in a byte if it fits
        while (n := max(numbers)) < self.k:  # twice as many letters each time, then as many as are missing
            more = max(other for other in numbers if n + other <= self.k)
            right = numbers[more]
            dtype = np.uint8 if base ** (n + more) <= 256 else self._id_dtype.type
            numbers[n + more] = numbers[n][: len(right) - n].astype(dtype, copy=False) * dtype(base**more)
            numbers[n + more] += right[n:]
        ids = numbers[self.k].astype(self._id_dtype, copy=False)
        ids += ids.dtype.type(N_SPECIAL)
        if has_unknown:  # below 0 only if the first window has the letter, too
            ids[np.maximum(0, np.flatnonzero(codes >= base)[:, None] - np.arange(self.k))] = UNK
        return ids

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        return [self._tokens[index] for index in self.encode_ids([text], add_special_tokens=False)[0].tolist()]

    def _convert_token_to_id(self, token: str) -> int:
        return self._ids.get(token, UNK)

    def _convert_id_to_token(self, index: int) -> str:
        return self._tokens[index if 0 <= index < len(self._tokens) else UNK]

    def _decode(self, token_ids: int | Sequence[int], skip_special_tokens: bool = False, **kwargs: Any) -> str:
        tokens = self.convert_ids_to_tokens([token_ids] if isinstance(token_ids, int) else token_ids)
        return self.convert_tokens_to_string(tokens, hidden=self.all_special_tokens if skip_special_tokens else ())

    def convert_tokens_to_string(self, tokens: Iterable[str], hidden: Sequence[str] = ()) -> str:
        """Joins runs of k-mers back into DNA, base by base; runs and other tokens are separated by one blank.

        `[UNK]` belongs to a run: a base that some known k-mer covers is that letter, one that only `[UNK]` covers is
        `N`. Any other special or added token ends a run, and so does a k-mer that contradicts those before it.
        """
        pieces, run, start = [], [], 0  # `run`: letters, "." while unknown; `start`: where the next k-mer begins in it
        for token in [*tokens, ""]:
            is_known = self._ids.get(token, PAD) >= N_SPECIAL
            letters = token if is_known else "." * self.k if token == SPECIAL_TOKENS[UNK] else ""
            pairs = list(itertools.zip_longest(run[start:], letters, fillvalue="."))
            if run and (not letters or any("." not in pair and pair[0] != pair[1] for pair in pairs)):
                pieces.append("".join(run).replace(".", "N"))
                run, start, pairs = [], 0, list(zip(letters, strict=True))
            if letters:
                run[start:] = map(max, pairs)  # a letter rather than "."
                start += self.stride
            elif token and token not in hidden:
                pieces.append(token)
        return " ".join(pieces)

    def _encode_plus(self, text: Any, text_pair: Any = None, **options: Any) -> BatchEncoding:
        """What `tokenizer(...)` calls: vectorised for plain DNA and usual options, else transformers' own path."""
        texts = [text] if isinstance(text, str) else text
        is_usual = text_pair is None and not any(map(options.get, UNUSUAL_OPTIONS))
        is_plain = is_usual and isinstance(texts, (list, tuple)) and set(map(type, texts)) == {str}
        # Tokens that a user added may be anywhere in a text; ours all begin with a bracket.
        is_plain = is_plain and len(self._added_tokens_encoder) == N_SPECIAL and "[" not in "".join(texts)
        arrays = self._encode_arrays(texts, options) if is_plain else None
        if arrays is None:
            is_rare = not is_plain or options.get("padding_strategy", "do_not_pad") != "do_not_pad"
            if is_rare and options.get("return_offsets_mapping"):
                raise NotImplementedError("return_offsets_mapping needs plain DNA; no pairs, no special tokens in it")
            return super()._encode_plus(text, text_pair, **options)
        is_single, tensors = isinstance(text, str), options.get("return_tensors")
        if tensors is None:
            arrays = {key: value.tolist() for key, value in arrays.items()}
            if "offset_mapping" in arrays:
                arrays["offset_mapping"] = [list(map(tuple, row)) for row in arrays["offset_mapping"]]
            if is_single:
                arrays = {key: value[0] for key, value in arrays.items()}
        elif tensors == "pt":  # the form that BatchEncoding converts without looking at every number
            arrays = {key: list(value) for key, value in arrays.items()}
        return BatchEncoding(arrays, tensor_type=tensors)

    def _encode_arrays(self, texts: Sequence[str], options: dict[str, Any]) -> dict[str, np.ndarray] | None:
        """Int64 arrays (n, width) of plain DNA; None if they would be ragged."""
        clean, shift = [text.strip(WHITESPACE) for text in texts], np.zeros(len(texts), np.int64)
        n_kmers = self.n_tokens(np.fromiter(map(len, clean), np.int64, len(clean)))
        padding, multiple = options.get("padding_strategy", "do_not_pad"), options.get("pad_to_multiple_of") or 1
        max_length, n_added = options.get("max_length"), 2 * bool(options.get("add_special_tokens", True))
        if max_length and options.get("truncation_strategy") in ("longest_first", "only_first"):
            kept = max(0, max_length - n_added)
            shift = np.maximum(0, n_kmers - kept) * self.stride * (self.truncation_side == "left")
            n_bases = (kept - 1) * self.stride + self.k if kept else 0  # the text is cut where the tokens end
            clean = [text[start : start + n_bases] for text, start in zip(clean, shift.tolist(), strict=True)]
            n_kmers = np.minimum(n_kmers, kept)
        lengths = n_kmers + n_added
        longest, is_padded = int(lengths.max()), padding != "do_not_pad"
        width = max_length if padding == "max_length" else longest
        width = -(-width // multiple) * multiple if is_padded else width
        side = options.get("padding_side") or self.padding_side
        if width < longest or (lengths.min() < longest and not is_padded) or side not in ("left", "right"):
            return None
        self._eventual_warn_about_too_long_sequence(range(longest), max_length, options.get("verbose", True))
        ids, is_token = np.zeros((len(texts), width), np.int64), np.arange(width) < lengths[:, None]
        ids[:, :longest] = self.encode_ids(clean, bool(n_added))
        if is_padded and side == "left":
            source, ids, is_token = ids[is_token], np.zeros_like(ids), is_token[:, ::-1]
            ids[is_token] = source
        is_special = (ids == CLS) | (ids == SEP) | ~is_token
        masks = {"token_type_ids": 0 * ids, "special_tokens_mask": is_special, "attention_mask": is_token}
        arrays = {"input_ids": ids}
        for name, mask in masks.items():
            is_requested = options.get(f"return_{name}")
            if is_requested or (is_requested is None and name in self.model_input_names):
                arrays[name] = mask.astype(np.int64)
        if options.get("return_offsets_mapping"):
            shift += [len(text) - len(text.lstrip(WHITESPACE)) for text in texts]
            starts = (np.cumsum(~is_special, axis=1) - 1) * self.stride + shift[:, None]
            arrays["offset_mapping"] = np.where(is_special[:, :, None], 0, starts[:, :, None] + [0, self.k])
        return arrays

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Writes `vocab.txt`, one token per line in the order of the ids, for other programs; it is never read."""
        path = Path(save_directory, f"{filename_prefix}-vocab.txt" if filename_prefix else "vocab.txt")
        path.write_text("".join(f"{token}\n" for token in self._tokens), encoding="utf-8")
        return (str(path),)

    def _save_pretrained(self, save_directory: str, file_names: tuple[str, ...], **options: Any) -> tuple[str, ...]:
        """Adds `tokenizer.json`; `save_pretrained` calls this before it uploads, so that pushed folders have it too."""
        files = super()._save_pretrained(save_directory, file_names, **options)
        config_path, rust_path = Path(file_names[0]), Path(save_directory, "tokenizer.json")
        if len(self._added_tokens_encoder) > N_SPECIAL:
            rust_path.unlink(missing_ok=True)  # of an earlier save, without the added tokens
            logger.warning("No tokenizer.json, because tokens were added: load this with trust_remote_code=True")
            return files
        self._rust_tokenizer().save(str(rust_path))
        stock = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": list(self.model_input_names)}
        config = json.loads(config_path.read_text(encoding="utf-8")) | stock
        config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return (*files, str(rust_path))

    def _rust_tokenizer(self) -> Any:
        """The same tokenizer as a `tokenizers.Tokenizer`, which needs no Python code of ours.

        It can only cut text, never repeat it, so the normalizer writes the overlapping windows out first: a blank after
        every base; then, for d = 1 .. k-1, letter d of each block is copied to the end of the block before it (Replace
        looks ahead in the text as it was before). The pre-tokenizer keeps every `stride`-th whole block.
        """
        from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

        k, stride, upper, lower = self.k, self.stride, self.alphabet, self.alphabet.lower()
        replace, undo, cases = normalizers.Replace, decoders.Replace, list(zip(lower, upper, strict=True))
        steps = [replace(Regex(rf"\A[{WHITESPACE}]+|[{WHITESPACE}]+\z"), ""), *(replace(*case) for case in cases)]
        steps += [replace(Regex(f"[^{upper}]"), "."), *(replace(letter, f"{letter} ") for letter in upper + ".")]
        steps += [replace(Regex(f" (?=[^ ]{{{d}}}[{c}])"), f"{c} ") for d in range(k - 1) for c in upper + "."]
        cuts = Regex(f"[^ ]{{{k}}} (?:[^ ]+ ){{0,{stride - 1}}}"), Regex(rf"\A[^ ]{{{k}}}")
        tokenizer = Tokenizer(models.WordLevel(self._ids, unk_token=SPECIAL_TOKENS[UNK]))
        tokenizer.normalizer = normalizers.Sequence(steps)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(cut, "removed", True) for cut in cuts])
        single, pair = "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"
        tokenizer.post_processor = processors.TemplateProcessing(single, pair, [("[CLS]", CLS), ("[SEP]", SEP)])
        tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL_TOKENS])
        # Decoding: letters that the next k-mer repeats become lower case, and go where another letter follows them.
        steps = [undo(Regex(f"(?<=[{upper}{lower}]{{{stride}}}){new}"), old) for old, new in cases]
        steps += [decoders.Fuse(), undo(Regex(f"[{lower}]{{{k - stride}}}(?=[{upper}])"), "")]
        steps += [undo(*case) for case in [*cases, ("[", " ["), ("]", "] "), ("  ", " ")]]
        tokenizer.decoder = decoders.Sequence([*steps, undo(Regex(r"\A | \z"), "")])
        return tokenizer
