# SPDX-License-Identifier: BSL-1.0
"""Writes tests/golden/tokenizer_files/: small SentencePiece models, a tiktoken file and tokenizer.json files of the
kinds Unigram and WordPiece, and what the packages that define them make of a sample of texts.

    pip install sentencepiece tiktoken tokenizers
    python tests/golden/make_tokenizer_files.py

The training text is the documentation of this repository.
"""

import base64
import io
import json
import pathlib
import random

import sentencepiece
import tiktoken
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).resolve().parent / "tokenizer_files"
ROOT = HERE.parents[2]
TEXTS = [
    "", " ", "   ", "a", "The reference is the policy with the adapter off.", "  two  spaces  between   words ",
    "tab\there\nnew line\r\nand more", "don't we'll I'VE", "1234567890 12 3.14159", "!!!??? ...,,,", "aaaaaaaaaaaaaaaaaaaaa",
    "Grüße aus München", "Ελληνικά κείμενο", "русский текст Ёё", "日本語のテキストです。", "中文文本,测试", "한국어 문장",
    "हिन्दी पाठ", "العربية نص", "עברית טקסט", "ไทยข้อความ", "👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽", "e\u0301 a\u0308 o\u0302 é ä ô",
    "ﬁ ﬂ ½ ① ㎏ Ａｂｃ ｶﾞ", "a\u00a0b\u2003c\u3000d", "\u200bzero\u200dwidth\ufeff", "\x01\x02\x7fcontrol", "İıſK Å ß ẞ",
    "\U0001d400\U0001d4d0 \U00020000", "mixed中文and English", "C++20 header-only: `plumb::dpo{.beta = 0.1f}`",
    "under_score camelCase snake_case", "“quotes” ‘single’ — dash … dots", "x²+y²=z²", "ÀÉÎÕÜ àéîõü", "Ǆ ǅ ǆ",
    "▁", "▁already ▁▁ there", "at the end▁▁", " ▁ ",
]


def sample():
    random.seed(5)
    alphabet = [c for text in TEXTS for c in text] + list("etaoin shrdlu  \n")
    noise = ["".join(random.choice(alphabet) for _ in range(random.randint(1, 30))) for _ in range(150)]
    return TEXTS + noise


def corpus():
    out = []
    for path in sorted((ROOT / "docs").rglob("*.md")):
        out += [line for line in path.read_text(encoding="utf8").split("\n") if line.strip()]
    return out[:3000]


def train_sentencepiece(name, lines, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, num_threads=1,
                                             hard_vocab_limit=False, minloglevel=2, **options)
    (HERE / name).write_bytes(model.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def main():
    HERE.mkdir(exist_ok=True)
    texts, lines = sample(), corpus()
    expected = {}

    def keep(name, encode, decode):
        ids = [encode(text) for text in texts]
        expected[name] = {"ids": ids, "texts": [decode(i) for i in ids]}

    for name, options in {
            "unigram.model": dict(model_type="unigram", vocab_size=400, byte_fallback=False),
            "unigram_bytes.model": dict(model_type="unigram", vocab_size=600, byte_fallback=True,
                                        normalization_rule_name="identity", user_defined_symbols=["<|turn|>"]),
            "bpe_bytes.model": dict(model_type="bpe", vocab_size=600, byte_fallback=True,
                                    normalization_rule_name="identity", remove_extra_whitespaces=False),
            "bpe.model": dict(model_type="bpe", vocab_size=400, byte_fallback=False, add_dummy_prefix=False,
                              normalization_rule_name="identity"),
    }.items():
        model = train_sentencepiece(name, lines, **options)
        keep(name, model.encode, model.decode)

    # A tiktoken file: ranks learned by byte-level BPE, whose merges are in the order of the tokens.
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=700, show_progress=False,
                                                       initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    character = {}
    follow = 0x100
    for b in range(256):
        printable = 33 <= b <= 126 or 0xA1 <= b <= 0xAC or b >= 0xAE
        character[chr(b) if printable else chr(follow)] = b
        follow += not printable
    vocabulary = sorted(bpe.get_vocab().items(), key=lambda item: item[1])
    ranks = {bytes(character[c] for c in token): rank for token, rank in vocabulary}
    (HERE / "small.tiktoken").write_text("".join(f"{base64.b64encode(t).decode()} {r}\n" for t, r in ranks.items()))
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
               r"\s*[\r\n]+|\s+(?!\S)|\s+")
    small = tiktoken.Encoding("small", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    keep("small.tiktoken", lambda text: small.encode(text, disallowed_special=()), small.decode)

    # tokenizer.json files of the other kinds.
    unigram = tokenizers.Tokenizer(models.Unigram())
    unigram.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(tokenizers.Regex(" {2,}"), " "),
                                               normalizers.Strip()])
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Metaspace()
    unigram.train_from_iterator(lines, trainers.UnigramTrainer(vocab_size=400, unk_token="<unk>", show_progress=False,
                                                               special_tokens=["<unk>", "<s>", "</s>"]))
    unigram.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    unigram.save(str(HERE / "unigram.json"))
    keep("unigram.json", lambda text: unigram.encode(text, add_special_tokens=False).ids, unigram.decode)

    for name, lower in (("word_piece.json", True), ("word_piece_cased.json", False)):
        words = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
        words.normalizer = normalizers.BertNormalizer(lowercase=lower)
        words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        words.decoder = decoders.WordPiece()
        words.train_from_iterator(lines, trainers.WordPieceTrainer(
            vocab_size=500, show_progress=False, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
        words.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        words.save(str(HERE / name))
        keep(name, lambda text: words.encode(text, add_special_tokens=False).ids, words.decode)

    with open(HERE / "expected.json", "w", encoding="utf8") as out:
        json.dump({"texts": texts, "files": expected}, out, separators=(",", ":"))
        out.write("\n")


main()
