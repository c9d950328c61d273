"""Overlapping k-mer tokenizer for DNA, at numpy speed, for any `transformers` program.

Knows nothing of any project: `save_pretrained` and `push_to_hub` copy this file next to the settings. They also write a
`tokenizer.json` with the same ids: `AutoTokenizer.from_pretrained` gives this class with `trust_remote_code=True`, and
without it a slower stock one, whose offsets cover one base per token and whose `decode` drops `[UNK]`.
It does not read files, reverse-complement, or split long sequences.

Here are also the letters that count as DNA, and the plasmid flanks that a model may read around every sequence: what a
text means must not depend on whether a script, a `pipeline` or a notebook reads it.
"""

import itertools
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
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
# IUPAC codes of one base or of several (doi:10.1093/nar/13.9.3021). U is the T of RNA; a code for several bases is read
# as N, because a k-mer cannot hold "A or G".
AMBIGUOUS = "RYSWKMBDHVN"
_FROM = "ACGTU" + AMBIGUOUS
_TO = "ACGTT" + "N" * len(AMBIGUOUS)
BAD = "!"
# bytes.translate table: every letter that is DNA in either case becomes one of ACGTN, every other byte becomes BAD.
CANONICAL = bytes(
    ord(_TO[_FROM.index(chr(code).upper())]) if chr(code).upper() in _FROM else ord(BAD) for code in range(256)
)
UNKNOWN, NOT_DNA = 255, 254  # in place of a letter's position in the alphabet: DNA outside it, and what is not DNA
BLOCK_BASES = 2**18  # letters tokenised at a time: their temporary arrays stay in the L2 cache
UNUSUAL_OPTIONS = ("is_split_into_words", "return_overflowing_tokens", "return_length", "sanitize_control_tokens")
ERRORS = ("strict", "warn", "replace")
MOST_LETTERS = 8  # of a k-mer
# Flanks: ends of sequences and of the plasmid that share fewer bases may do so by chance (8 bases: one sequence in 65,000).
LEAST_SHARED = 8
# Sharing this many is hardly chance: 12 bases, one sequence in 12 million; 16 bases, one in 3 billion. Only the second
# makes a file an error.
NOT_BY_CHANCE, SURELY_MIXED = 12, 16
# Bases of the plasmid on each side of the insert that are searched for at the ends of sequences.
SEARCHED = 200
# An end that should repeat the plasmid but differs in more than this share of its bases is another sequence.
MOST_MISMATCHES = 0.3
# The same where bare inserts occur as well: of random inserts, 1 in 900,000 begins with 14 of 17 given bases, and 1 in
# 90,000 ends with 11 of 13.
MOST_CHANGED = 0.2


def is_kmers(text: str) -> bool:
    """Tells whether a text is DNA as overlapping k-mers between blanks, the form of DNABERT's files.

    >>> is_kmers("ACGT CGTA GTAC"), is_kmers("ACGT ACGT"), is_kmers("ACGT")
    (True, False, False)
    """
    kmers = text.split()
    is_overlapping = all(kmer[1:] == following[:-1] for kmer, following in itertools.pairwise(kmers))
    is_dna = BAD.encode() not in "".join(kmers).encode("utf-8", "replace").translate(CANONICAL)
    return is_overlapping and is_dna and len(kmers) > 1 and len(kmers[0]) > 1 and len({*map(len, kmers)}) == 1


def describe_bad_letter(sequence: str, position: int, alphabet: str = "") -> str:
    """Returns the message for a letter at a 0-based position that is neither DNA nor of the alphabet.

    >>> describe_bad_letter("ACGQ", 3)
    "letter 'Q' at base 4: allowed are ACGTN, U, and IUPAC codes (read as N)"
    >>> describe_bad_letter("ACG CGT", 3)
    "'ACG CGT' is DNA split into k-mers, as DNABERT's files have it: write the DNA itself: ACGT"
    """
    if is_kmers(sequence):
        kmers = sequence.split()
        dna = kmers[0] + "".join(kmer[-1] for kmer in kmers[1:])
        shown = f"{sequence[:30]!r} is DNA split into k-mers, as DNABERT's files have it"
        return f"{shown}: write the DNA itself: {dna[:30]}{'...' if len(dna) > 30 else ''}"
    letter, more = sequence[position : position + 1], "".join(sorted(set(alphabet) - set(_FROM)))
    return f"letter {letter!r} at base {position + 1}: allowed are ACGTN{more}, U, and IUPAC codes (read as N)"


def _named(texts: Sequence[str], row: int) -> str:
    """How messages name one of several texts, or the only one."""
    start = texts[row][:30] + "..." * (len(texts[row]) > 30)
    return f"text{f' {row + 1} of {len(texts)},' if len(texts) > 1 else ''} {start!r}"


@dataclass(frozen=True)
class Flanks:
    """Plasmid DNA on both sides of an insert.

    Attributes:
        left, right: Bases before and after the insert, in the letters ACGTN; at least `length` of each.
        length: Bases to have on each side of the insert.
        carried: How many bases before and after their inserts the training sequences already include; None if unknown.
            With it, a single sequence can be told to be a bare insert or a promoter with mutations in these bases.
    """

    left: str
    right: str
    length: int
    carried: Sequence[int] | None = None

    def learn(self, sequences: Sequence[str]) -> "Flanks":
        """Returns these flanks with `carried` as it is in most of the sequences, which are in the letters ACGTN."""
        usual = [
            Counter(_shared(end, part) for end in ends).most_common(1)[0][0] for ends, part in self._sides(sequences)
        ]
        return replace(self, carried=usual)

    def extend(self, sequences: Sequence[str]) -> list[str]:
        """Gives every sequence exactly `length` bases of the plasmid on each side of its insert.

        Sequences may be bare inserts, or include some of these bases already, such as the 17 before and the 13 after the
        insert in promoters of the DREAM Challenge: bases that are there are kept and not repeated, bases beyond `length`
        are cut off. The shared bases may have mutations. If `carried` is unknown, all sequences of one call must be of
        one kind, and what most of them include counts.

        Args:
            sequences: In the letters ACGTN.

        Raises:
            LookupError: A sequence is not like most of the others; the error's arguments are its number (0-based) and
                what is wrong.

        >>> flanks = Flanks("TGCATTTTTTTCACATC", "GGTTACGGCTGTT", 10)
        >>> flanks.extend(["ACGTA", "CCCCC"])
        ['TTTTCACATCACGTAGGTTACGGCT', 'TTTTCACATCCCCCCGGTTACGGCT']
        >>> flanks.extend(["TTCACATCACGTAGGTTACGG"])
        ['TTTTCACATCACGTAGGTTACGGCT']
        """
        counts = []
        for side, ((ends, part), verb) in enumerate(zip(self._sides(sequences), ("begins", "ends"), strict=True)):
            if self.carried is None:
                counts.append(_count_in_all(ends, part, verb))
            else:
                counts.append([_count_in_one(end, part, self.carried[side]) for end in ends])
        return [self._extend(*row) for row in zip(sequences, *counts, strict=True)]

    def are_cut(self, pieces: Sequence[str]) -> bool:
        """Tells whether the pieces of a sequence, between which something else is, begin or end within the plasmid's bases."""
        carried = self.carried or (0, 0)
        ends = zip(
            (pieces, [piece[::-1] for piece in reversed(pieces)]), (self.left, self.right[::-1]), carried, strict=True
        )
        return any(_is_cut(*end) for end in ends)

    def _sides(self, sequences: Sequence[str]) -> tuple[tuple[list[str], str], tuple[list[str], str]]:
        """Beginnings of the sequences and the plasmid before the insert; ends and the plasmid after it, both reversed."""
        begins = [sequence[:SEARCHED] for sequence in sequences]
        ends = [sequence[: -SEARCHED - 1 : -1] for sequence in sequences]
        return (begins, self.left), (ends, self.right[::-1])

    def _extend(self, sequence: str, n_left: int, n_right: int) -> str:
        before = self.left[len(self.left) - self.length : len(self.left) - n_left] if self.length > n_left else ""
        start, cut = max(0, n_left - self.length), max(0, n_right - self.length)
        return before + sequence[start : len(sequence) - cut] + self.right[n_right : self.length]


def _count_in_all(ends: list[str], plasmid: str, verb: str) -> list[int]:
    """For each of several sequences of one kind, with how many of the plasmid's last bases it begins."""
    counts = [_shared(end, plasmid) for end in ends]
    usual = Counter(counts).most_common(1)[0][0]
    for row, (count, end) in enumerate(zip(counts, ends, strict=True)):
        if count == usual:
            continue
        if not usual and count >= SURELY_MIXED:
            raise LookupError(row, f"the sequence {verb} with {count} bases of the plasmid, but most are bare inserts")
        if _mismatches(end, plasmid, usual) > MOST_MISMATCHES * usual:
            raise LookupError(row, f"most sequences {verb[:-1]} with {usual} bases of the plasmid, but not this one")
    return [usual] * len(ends)


def _count_in_one(end: str, plasmid: str, carried: int) -> int:
    """The same for one sequence: the `carried` bases, perhaps mutated, or another number of intact bases, or none."""
    if carried and _mismatches(end, plasmid, carried) <= MOST_CHANGED * carried:
        return carried
    intact = _shared(end, plasmid)
    return intact if intact >= NOT_BY_CHANCE else 0


def _is_cut(pieces: Sequence[str], plasmid: str, carried: int) -> bool:
    """Whether the plasmid's end, with which a sequence begins, goes on after its first piece."""
    (first, second, *_), near = pieces, plasmid[-SEARCHED:]
    if _shared(first, plasmid) or _count_in_one(first, plasmid, carried):
        return False
    is_before = len(first) >= LEAST_SHARED and first in near
    is_after = plasmid[-LEAST_SHARED:] in " ".join(pieces[1:])[:SEARCHED]
    # Some bases before and some after, with those of a k-mer or fewer between.
    is_around = any(
        near.endswith(second[:n]) and first in near[: len(near) - n][-len(first) - MOST_LETTERS :]
        for n in range(max(0, LEAST_SHARED - len(first)), LEAST_SHARED)
    )
    return is_before or is_after or is_around


def _mismatches(end: str, plasmid: str, n: int) -> int:
    """Number of bases in which the first n differ from the plasmid's last n."""
    return sum(a != b for a, b in zip(end, plasmid[len(plasmid) - n :], strict=False)) + max(0, n - len(end))


def _shared(end: str, plasmid: str) -> int:
    """The largest n >= LEAST_SHARED for which the first n bases are the plasmid's last n; 0 if there is none."""
    anchor, longest = plasmid[-LEAST_SHARED:], 0
    at = end.find(anchor)
    while at >= 0:
        n = at + LEAST_SHARED
        longest = n if end[:n] == plasmid[-n:] else longest
        at = end.find(anchor, at + 1)
    return longest


class KmerTokenizer(PreTrainedTokenizer):
    """Cuts DNA into k-mers, one every `stride` bases, and numbers them.

    Ids: `[PAD]` 0, `[UNK]` 1, `[CLS]` 2, `[SEP]` 3, `[MASK]` 4, then every k-mer in the product order of the alphabet
    as given, last letter fastest: `ATCG` with k=6 is DNABERT's vocabulary (doi:10.1093/bioinformatics/btab083).

    Lower case is read as upper case, U as T, an IUPAC code of several bases as N; whitespace around a sequence is ignored.
    A window with such an N is `[UNK]`, unless the alphabet has it. A text with any other letter outside the alphabet, and
    one without a k-mer, is an error; `errors` says otherwise. With stride > 1, bases after the last whole window are not
    tokenised. Any length is accepted; transformers warns once above `model_max_length` (default 512 tokens).
    `tokenizer(...)` reads `[MASK]` and the other special tokens in a text as themselves, and the DNA on both sides
    separately; `encode_ids` does not. Padding is on the right: models read `[CLS]` first.

    Args:
        k: Letters per k-mer, 1 to 8.
        stride: Bases from the start of one k-mer to the start of the next, 1 to k.
        alphabet: Two or more distinct letters A to Z, with at most 2**20 k-mers in all.
        errors: What happens to a text that is not DNA or is too short: `strict`, ValueError; `warn`, a warning that names
            it; `replace`, nothing. In the last two cases the windows with such letters are `[UNK]`.
        min_bases: Bases that a text must have; None for those of one k-mer.
        flanks: Arguments of `Flanks`: bases that go around every text, with `[CLS]` and `[SEP]`; None for none.
        **kwargs: As for any `PreTrainedTokenizer`; the five special tokens cannot be renamed.

    Raises:
        ValueError: k, stride, alphabet, errors or a special token is not as described above.
    """

    _auto_class = "AutoTokenizer"  # all that register_for_auto_class() would do after importing torch
    model_input_names = ("input_ids", "token_type_ids", "attention_mask")

    def __init__(
        self,
        k: int = 6,
        stride: int = 1,
        alphabet: str = "ATCG",
        errors: str = "strict",
        min_bases: int | None = None,
        flanks: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        for name, value, most in (("k", k, MOST_LETTERS), ("stride", stride, k)):
            if not isinstance(value, int) or not 1 <= value <= most:
                raise ValueError(f"`{name}` {value!r}: allowed are whole numbers from 1 to {most}")
        n_letters = len(set(alphabet)) if re.fullmatch("[A-Z]{2,}", str(alphabet)) else 0
        if n_letters < max(2, len(alphabet)) or n_letters**k > 2**20:
            raise ValueError(
                f"`alphabet` {alphabet!r}: allowed are 2 or more distinct letters A-Z, at most 2**20 k-mers"
            )
        if errors not in ERRORS:
            raise ValueError(f"`errors` {errors!r}: allowed are {', '.join(ERRORS)}")
        for token in SPECIAL_TOKENS:
            name = f"{token[1:-1].lower()}_token"
            if str(kwargs.setdefault(name, token)) != token:
                raise ValueError(f"`{name}` {str(kwargs[name])!r}: allowed is {token!r}, whose id is fixed")
        self.k, self.stride, self.alphabet = k, stride, alphabet
        self.errors, self.min_bases, self.flanks = errors, min_bases, flanks
        self._flanks = Flanks(**flanks) if flanks else None
        self._other_codes = np.full(256, NOT_DNA, np.uint8)  # by a letter's byte; of letters outside the alphabet
        for letter, meaning in zip(_FROM, _TO, strict=True):
            twin = {"T": "U"}.get(letter, meaning)  # an alphabet with U reads T as U
            self._other_codes[ord(letter)] = alphabet.index(twin) if twin in alphabet else UNKNOWN
        self._tokens = [*SPECIAL_TOKENS, *map("".join, itertools.product(alphabet, repeat=k))]
        self._ids = {token: index for index, token in enumerate(self._tokens)}
        self._id_dtype = np.min_scalar_type(-len(self._tokens))
        settings = {"k": k, "stride": stride, "alphabet": alphabet, "errors": errors}
        settings |= {name: value for name, value in (("min_bases", min_bases), ("flanks", flanks)) if value is not None}
        super().__init__(**{"model_max_length": 512} | kwargs | settings)

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
            sequences: n strings of any lengths, or one. Special tokens in them are letters that are not DNA.
            add_special_tokens: Put `[CLS]` before and `[SEP]` after each sequence, and the flanks around it.

        Returns:
            Array (n, tokens of the longest sequence), `[PAD]` (0) on the right of shorter ones, of the smallest signed
            integer type that holds the vocabulary (ATCG: int8 to k=3, int16 to k=7, int32 for k=8).

        Raises:
            ValueError: One of `sequences` is not a string; with `errors` strict, it is not DNA or is too short.

        >>> KmerTokenizer(k=2).encode_ids(["AATG", "CN"]).tolist()
        [[2, 5, 6, 12, 3], [2, 1, 3, 0, 0]]
        """
        sequences = [sequences] if isinstance(sequences, str) else list(sequences)
        try:
            if add_special_tokens and self._flanks:
                sequences = self._add_flanks(sequences, has_tokens=False)
            return self._encode_rows(sequences, int(add_special_tokens), self._needed if add_special_tokens else 0)
        except TypeError:  # checking every type beforehand would cost a tenth of the speed
            row, bad = next((row, value) for row, value in enumerate(sequences) if not isinstance(value, str))
            raise ValueError(f"sequence {row}, counted from 0, is {bad!r}; allowed are strings of DNA") from None

    def _encode_rows(self, sequences: list[str], first: int, needed: int = 0) -> np.ndarray:
        """What `encode_ids` returns of sequences with their flanks.

        Args:
            sequences: n strings.
            first: Column of the first k-mer: 1 with special tokens, 0 without.
            needed: Bases that each must have.
        """
        is_ragged = len(set(map(len, sequences))) > 1
        lengths = np.array([len(sequence) for sequence in (sequences if is_ragged else sequences[:1])], np.int64)
        longest = int(lengths.max(initial=0))
        if lengths.min(initial=needed) < needed:
            stripped = [sequence.strip(WHITESPACE) for sequence in sequences]
            self._check_lengths(stripped, np.array([len(sequence) for sequence in stripped]), needed)
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
            codes, unknown = self._letter_codes("".join(block) + padding * (self.k - 1))
            strange = unknown[codes[unknown] == NOT_DNA]
            if len(strange):
                # Stripping all sequences beforehand would cost a third of the speed, for whitespace that is rarely there.
                stripped = [sequence.strip(WHITESPACE) for sequence in sequences]
                if stripped != sequences:
                    return self._encode_rows(stripped, first, needed)
                row, position = divmod(int(strange[0]), longest)
                self._object(sequences, start + row, describe_bad_letter(block[row], position, self.alphabet))
            windows = self._window_ids(codes, unknown).reshape(len(block), longest)
            is_kmer = np.arange(most_kmers) < n_kmers[rows, None] if is_ragged else True
            strided = windows[:, : most_kmers * self.stride : self.stride]
            np.copyto(ids[rows, first : first + most_kmers], strided, where=is_kmer)
        return ids

    def _letter_codes(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Each letter's position in the alphabet, uint8 (len(text),), or UNKNOWN or NOT_DNA; and where these are."""
        letters = np.frombuffer(text.encode("latin-1", "replace"), np.uint8) & np.uint8(0xDF)  # upper case
        codes, is_letter = np.full(len(letters), 255, np.uint8), np.empty(len(letters), np.uint8)
        for rank, letter in enumerate(self.alphabet.encode(), 1):  # faster than bytes.translate for a few letters
            np.equal(letters, letter, out=is_letter.view(bool))
            codes += np.multiply(is_letter, np.uint8(rank), out=is_letter)  # 255 + rank is rank - 1 in a byte
        if codes.max(initial=0) < len(self.alphabet):
            return codes, np.empty(0, np.int64)
        others = np.flatnonzero(codes >= len(self.alphabet))
        codes[others] = self._other_codes[letters[others]]  # the few letters of DNA with U or N
        return codes, others[codes[others] >= len(self.alphabet)]

    def _window_ids(self, codes: np.ndarray, unknown: np.ndarray) -> np.ndarray:
        """Ids of the k-mers that start at each of n letters, from `_letter_codes` of n + k - 1 letters: (n,)."""
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
        if len(unknown):  # below 0 only if the first window has the letter, too
            ids[np.maximum(0, unknown[:, None] - np.arange(self.k))] = UNK
        return ids

    @property
    def _needed(self) -> int:
        """Bases that a whole text must have."""
        return max(self.k, self.min_bases or 0)

    def _check_lengths(self, texts: Sequence[str], lengths: np.ndarray, needed: int, least: int = 0) -> None:
        """Objects to the first text of `least` or more bases that has fewer than are needed."""
        short = np.flatnonzero((lengths < needed) & (lengths >= least))
        if len(short):
            row = int(short[0])
            self._object(texts, row, f"it has {lengths[row]} of the {needed} bases that a text must have")

    def _add_flanks(self, texts: Sequence[str], has_tokens: bool = True) -> list[str]:
        """Texts in the letters ACGTN and between the flanks; special tokens in them, if they may have any, stay as they are."""
        tokens, clean = re.compile(f"({'|'.join(map(re.escape, self._added_tokens_encoder))})"), []
        for row, text in enumerate(texts):
            parts = [part.strip(WHITESPACE) for part in (tokens.split(text) if has_tokens else [text])]
            for at in range(0, len(parts), 2):  # between the tokens
                letters = parts[at].encode("latin-1", "replace").translate(CANONICAL).decode()
                if BAD in letters:
                    self._object(texts, row, describe_bad_letter(parts[at], letters.index(BAD)))
                parts[at] = letters
            if not any(parts[::2]):
                self._object(texts, row, "it has no bases between the flanks")
            if len(parts) > 1 and self._flanks.are_cut(parts[::2]):
                raise ValueError(
                    f"{_named(texts, row)}: a special token is within the flanks: give the insert without them"
                )
            clean.append("".join(parts))
        try:
            return self._flanks.extend(clean)
        except LookupError as error:
            row, problem = error.args
            raise ValueError(f"{_named(texts, row)}: {problem}: give texts of one kind") from None

    def _object(self, texts: Sequence[str], row: int, problem: str) -> None:
        """Says what is wrong with a text, as loudly as `errors` asks for."""
        message = f"{_named(texts, row)}: {problem}"
        if self.errors == "strict":
            raise ValueError(message)
        if self.errors == "warn":
            logger.warning("%s; what cannot be read is [UNK]", message)

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        piece = text.strip(WHITESPACE)  # all of a text, or what is between special tokens
        self._check_lengths([piece], np.array([len(piece)]), self.k, least=1)
        return [self._tokens[index] for index in self._encode_rows([text], first=0)[0].tolist()]

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

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Puts `[CLS]` before the ids of a sequence and `[SEP]` after those of each; transformers 4 asks for this."""
        second = [] if token_ids_1 is None else [*token_ids_1, SEP]
        return [CLS, *token_ids_0, SEP, *second]

    def get_special_tokens_mask(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """Marks the tokens that `build_inputs_with_special_tokens` adds by 1, or all special ones in `token_ids_0`."""
        if already_has_special_tokens:
            return super().get_special_tokens_mask(token_ids_0, token_ids_1, already_has_special_tokens=True)
        second = [] if token_ids_1 is None else [*[0] * len(token_ids_1), 1]
        return [1, *[0] * len(token_ids_0), 1, *second]

    def _batch_encode_plus(self, batch_text_or_text_pairs: Any, **options: Any) -> BatchEncoding:
        """What `tokenizer(list)` calls in transformers 4; newer releases call `_encode_plus` for lists, too."""
        return self._encode_plus(batch_text_or_text_pairs, **options)

    def _encode_plus(self, text: Any, text_pair: Any = None, **options: Any) -> BatchEncoding:
        """What `tokenizer(...)` calls: vectorised for plain DNA and usual options, otherwise transformers' own path."""
        is_single, has_added = isinstance(text, str), bool(options.get("add_special_tokens", True))
        texts = [text] if is_single else text
        is_text = isinstance(texts, (list, tuple)) and set(map(type, texts)) == {str}
        if (
            self._flanks
            and has_added
            and (text_pair is not None or options.get("return_offsets_mapping") or not is_text)
        ):
            raise ValueError(
                "a tokenizer with flanks reads texts: no pairs, ids or words, and no return_offsets_mapping"
            )
        is_usual = text_pair is None and not any(map(options.get, UNUSUAL_OPTIONS))
        # Tokens that a user added may be anywhere in a text; ours all begin with a bracket.
        is_plain = is_text and len(self._added_tokens_encoder) == N_SPECIAL and "[" not in "".join(texts)
        # transformers' own path for lists is this method again for each text, but not in transformers 4.
        own_batch_path = getattr(super(), "_batch_encode_plus", None)
        if self._flanks and has_added and (is_single or is_plain or own_batch_path):
            texts = self._add_flanks(texts)
        arrays = self._encode_arrays(texts, options) if is_usual and is_plain else None
        if arrays is None:
            is_rare = not (is_usual and is_plain) or options.get("padding_strategy", "do_not_pad") != "do_not_pad"
            if is_rare and options.get("return_offsets_mapping"):
                raise NotImplementedError("return_offsets_mapping needs plain DNA; no pairs, no special tokens in it")
            if is_single:
                return super()._encode_plus(texts[0], text_pair, **options)
            return (
                own_batch_path(texts, **options) if own_batch_path else super()._encode_plus(text, text_pair, **options)
            )
        tensors = options.get("return_tensors")
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
        n_bases = np.fromiter(map(len, clean), np.int64, len(clean))
        n_kmers = self.n_tokens(n_bases)
        padding, multiple = options.get("padding_strategy", "do_not_pad"), options.get("pad_to_multiple_of") or 1
        max_length, n_added = options.get("max_length"), 2 * bool(options.get("add_special_tokens", True))
        self._check_lengths(clean, n_bases, self._needed if n_added else self.k, least=0 if n_added else 1)
        if max_length and options.get("truncation_strategy") in ("longest_first", "only_first"):
            kept = max(0, max_length - n_added)
            shift = np.maximum(0, n_kmers - kept) * self.stride * (self.truncation_side == "left")
            n_kept = (kept - 1) * self.stride + self.k if kept else 0  # the text is cut where the tokens end
            clean = [text[start : start + n_kept] for text, start in zip(clean, shift.tolist(), strict=True)]
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
        ids[:, :longest] = self._encode_rows(clean, first=n_added // 2)
        if is_padded and side == "left":
            self._check_side(n_added and lengths.min() < width)
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

    def _pad(self, encoded_inputs: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        """What `pad` and collators call for each row."""
        padded = super()._pad(encoded_inputs, *arguments, **options)
        ids = padded["input_ids"]
        self._check_side(len(ids) and ids[0] == PAD and CLS in ids)
        return padded

    def _check_side(self, is_left_of_cls: bool) -> None:
        if is_left_of_cls:
            raise ValueError(
                "`padding_side` left: models read [CLS] first and count positions from it; pad on the right"
            )

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Writes `vocab.txt`, one token per line in the order of the ids, for other programs; it is never read."""
        path = Path(save_directory, f"{filename_prefix}-vocab.txt" if filename_prefix else "vocab.txt")
        path.write_text("".join(f"{token}\n" for token in self._tokens), encoding="utf-8")
        return (str(path),)

    def _save_pretrained(self, save_directory: str, file_names: tuple[str, ...], **options: Any) -> tuple[str, ...]:
        """Adds `tokenizer.json`; `save_pretrained` calls this before it uploads, so that pushed folders have it too."""
        files = super()._save_pretrained(save_directory, file_names, **options)
        config_path, rust_path = Path(file_names[0]), Path(save_directory, "tokenizer.json")
        config = json.loads(config_path.read_text(encoding="utf-8")) | {
            "model_input_names": list(self.model_input_names)
        }
        reason = (
            "tokens were added" if len(self._added_tokens_encoder) > N_SPECIAL else "stock tokenizers add no flanks"
        )
        if is_python_only := self._flanks is not None or len(self._added_tokens_encoder) > N_SPECIAL:
            rust_path.unlink(missing_ok=True)  # of an earlier save
            logger.warning("No tokenizer.json, because %s: load this with trust_remote_code=True", reason)
        else:
            self._rust_tokenizer().save(str(rust_path))
            config["tokenizer_class"] = "PreTrainedTokenizerFast"
        config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return files if is_python_only else (*files, str(rust_path))

    def _rust_tokenizer(self) -> Any:
        """The same tokenizer as a `tokenizers.Tokenizer`, which needs no Python code of ours.

        It can only cut text, never repeat it, so the normalizer writes the overlapping windows out first: a blank after
        every base; then, for d = 1 .. k-1, letter d of each block is copied to the end of the block before it (Replace
        looks ahead in the text as it was before). The pre-tokenizer keeps every `stride`-th whole block.
        """
        from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

        k, stride, upper, lower = self.k, self.stride, self.alphabet, self.alphabet.lower()
        replace, undo, cases = normalizers.Replace, decoders.Replace, list(zip(lower, upper, strict=True))
        is_strict = self.errors == "strict"
        # In the text, "." is DNA outside the alphabet, and "!" what makes the text an error.
        steps = [replace(Regex(rf"\A[{WHITESPACE}]+|[{WHITESPACE}]+\z"), ""), replace(".", "!")]
        steps += [replace(*case) for case in cases]
        others = {letter: self._other_codes[ord(letter)] for letter in _FROM if letter not in upper}
        for code in sorted(set(others.values())):
            letters = "".join(letter + letter.lower() for letter in others if others[letter] == code)
            steps.append(replace(Regex(f"[{letters}]"), "." if code == UNKNOWN else upper[code]))
        steps.append(replace(Regex(f"[^{upper}.]"), "!" if is_strict else "."))
        if is_strict:  # mark the first letter: a stride may leave the last ones out, and short texts have no window
            steps.append(replace(Regex(r"\A[^ ](?=[^ ]*!)"), "!"))
            if self._needed > 1:
                steps.append(replace(Regex(rf"\A[^ ]{{1,{self._needed - 1}}}\z"), "!" * k))
        marks = upper + ".!"
        steps += [replace(letter, f"{letter} ") for letter in marks]
        steps += [replace(Regex(f" (?=[^ ]{{{d}}}[{c}])"), f"{c} ") for d in range(k - 1) for c in marks]
        window = f"[^ ]{{{k}}}"
        if is_strict:  # only a window without "!" becomes a known token
            unk = SPECIAL_TOKENS[UNK]
            steps.append(replace(Regex(rf"(?<![^ ])(?=[^ ]*\.)[^ !]{{{k}}}(?= )"), unk))
            window = rf"(?:{re.escape(unk)}|{window})"
            needed = f"a text that is not DNA (ACGTN, U, IUPAC codes) or has fewer than {self._needed} bases"
            model = models.BPE(self._ids, [], unk_token=needed, ignore_merges=True)
        else:
            model = models.WordLevel(self._ids, unk_token=SPECIAL_TOKENS[UNK])
        cuts = Regex(rf"{window} (?:[^ ]+ ){{0,{stride - 1}}}"), Regex(rf"\A{window}")
        tokenizer = Tokenizer(model)
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
