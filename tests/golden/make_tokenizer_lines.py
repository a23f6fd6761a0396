#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Writes tokenizer_lines.json beside this file: what the packages that define the tokenizers make of 2,000 and more lines in every
script, of emoji sequences, control characters, every kind of space, and bytes that are not UTF-8.

    pip install tokenizers==0.23.3 sentencepiece tiktoken
    python tests/golden/make_tokenizer_lines.py

The tokenizers are those that make_tokenizers.py and make_tokenizer_files.py wrote. "bytes" are lines in hexadecimal digits that
are not UTF-8; the packages get them with U+FFFD for each maximal ill-formed part, as Unicode recommends (chapter 3.9).
"marks" has four characters of base64 a line: the last 24 bits of FNV-1a over the ids, each as four bytes little-endian, and, where it
is compared ("decodes"), over the decoded text in UTF-8.
"""
import base64
import json
import pathlib
import random
import re
import unicodedata

import sentencepiece
import tiktoken
from tokenizers import Tokenizer

from make_tokenizers import patched

HERE = pathlib.Path(__file__).resolve().parent
EMOJI = ["👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "🇯🇵🇧🇷", "1️⃣", "#️⃣", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "❤️", "☺︎", "🧑🏿‍🚀",
         "👩‍❤️‍💋‍👨", "🙂", "😀😃😄", "🫠", "🤷🏻‍♀️", "⏰", "©️", "🈚️", "🀄"]
BROKEN = [b"\xff", b"\xfe", b"\x80", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80",
          b"\xe2\x28\xa1", b"\xf0\x28\x8c\xbc", b"\xc3\xc3\xa9", b"\xf0\x9f\xf0\x9f\x98\x80"]


def scripts():
    """Characters by script, which for letters, marks and numbers is the first word of their name; symbols by category."""
    out = {}
    for code in range(0x20, 0x110000):
        category = unicodedata.category(chr(code))
        if category[0] in "LMN":
            out.setdefault(re.split("[ -]", unicodedata.name(chr(code), "UNNAMED"))[0], []).append(chr(code))
        elif category[0] in "PS":
            out.setdefault(category, []).append(chr(code))
    rare = [name for name, characters in out.items() if len(characters) < 5]  # a letter with a name of its own
    out["RARE"] = [c for name in rare for c in out.pop(name)]
    return out


def lines():
    random.seed(11)
    out = []
    for name, characters in sorted(scripts().items()):
        for length in (3, 9, 14, 20) if len(characters) < 40 else (1, 3, 6, 9, 13, 17, 22):
            word = lambda: "".join(random.choice(characters) for _ in range(random.randint(1, 7)))
            line = word()
            while len(line) < length:
                line += random.choice([" ", " ", "  ", ", ", "'s ", " 12", "\n", "A", "-", "\u0301", "\u200d", ". "]) + word()
            out.append(line)
    for first in EMOJI:
        for second in random.sample(EMOJI, 7):
            out.append(random.choice(["", " ", "a ", "12"]) + first + random.choice(["", " ", "x"]) + second)
    controls = [chr(c) for c in [*range(0x20), *range(0x7f, 0xa0), 0xad, 0x61c, 0x180e, *range(0x200b, 0x2010), *range(0x202a, 0x202f), *range(0x2060, 0x2070), 0xfeff,
                                 *range(0xfff9, 0xfffe), 0xe0001, 0xe0020, 0xfffe, 0xffff, 0x1ffff, 0x10ffff, 0xe000, 0xf8ff, 0xf0000]]
    spaces = [" ", "\t", "\n", "\r", "\x0b", "\x0c", "\x85", "\xa0", "\u1680", "\u2000", "\u2003", "\u2007", "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"]
    for c in controls + spaces:
        out += [c, f"a{c}b", f" {c}{c} x{c} 1{c}\n"]
    for _ in range(220):
        out.append("".join(random.choice(spaces + [" "] * 8 + list("ab1.!'é中")) for _ in range(random.randint(2, 25))))
    broken = []
    for part in BROKEN:
        for line in (part, b"a" + part + b"b", "é ".encode() + part + part + " 中".encode(), b" " + part + random.choice(BROKEN) + b"\n"):
            broken.append(line)
    return out, broken


def digest(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return (value & 0xFFFFFF).to_bytes(3, "little")


def main():
    whole, broken = lines()
    texts = whole + [line.decode("utf8", errors="replace") for line in broken]
    kinds = []

    def keep(name, variant, encode, decode):
        ids = [encode(text) for text in texts]
        numbers = [b"".join(i.to_bytes(4, "little") for i in line) for line in ids]
        marks = b"".join(digest(a + (decode(b).encode() if decode else b"")) for a, b in zip(numbers, ids))
        kinds.append({"file": name, "variant": variant, "decodes": decode is not None, "marks": base64.b64encode(marks).decode()})

    for name in ("tokenizer_bytes_gpt2.json", "tokenizer_bytes_words.json", "tokenizer_pieces.json"):
        golden = json.loads((HERE / name).read_text())
        for number, variant in enumerate(golden["variants"]):
            tokenizer = Tokenizer.from_str(json.dumps(patched(golden["base"], variant["patch"])))
            keep(name, number, lambda text: tokenizer.encode(text).ids, lambda ids: tokenizer.decode(ids, skip_special_tokens=False))
    files = HERE / "tokenizer_files"
    for name in ("unigram.model", "unigram_bytes.model", "bpe_bytes.model", "bpe.model"):
        model = sentencepiece.SentencePieceProcessor(model_file=str(files / name))
        keep(f"tokenizer_files/{name}", -1, model.encode, None)
    ranks = {base64.b64decode(a): int(b) for a, b in (line.split() for line in (files / "small.tiktoken").read_text().splitlines())}
    pattern = re.search(r"pattern = \((.*?)\)\n", (HERE / "make_tokenizer_files.py").read_text(), re.S).group(1)
    small = tiktoken.Encoding("small", pat_str=eval(f"({pattern})"), mergeable_ranks=ranks, special_tokens={})
    keep("tokenizer_files/small.tiktoken", -1, lambda text: small.encode(text, disallowed_special=()), small.decode)
    for name in ("unigram.json", "word_piece.json", "word_piece_cased.json"):
        tokenizer = Tokenizer.from_file(str(files / name))
        keep(f"tokenizer_files/{name}", -1, lambda text: tokenizer.encode(text, add_special_tokens=False).ids, None)
    out = {"lines": whole, "bytes": [line.hex() for line in broken], "tokenizers": kinds}
    text = json.dumps(out, ensure_ascii=False, separators=(",", ":")) + "\n"
    (HERE / "tokenizer_lines.json").write_text(text)
    print(len(texts), "lines,", len(scripts()), "scripts,", len(kinds), "tokenizers,", len(text.encode()), "bytes")


if __name__ == "__main__":
    main()
