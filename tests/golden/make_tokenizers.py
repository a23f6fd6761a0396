#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Writes tokenizer_*.json beside this file: small tokenizers and what Hugging Face's tokenizers make of texts.

Usage: pip install tokenizers==0.23.3; tests/golden/make_tokenizers.py

Each file holds one trained tokenizer.json ("base"), the texts, and variants: top-level entries that replace those of the
base ("patch"; inside "model" they are merged), with the ids and the decoded text of every text.
"""
import copy
import json
import pathlib

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).resolve().parent
TRAINING = """The quick brown fox jumps over the lazy dog. It's what we'll do; they've said I'm not one who'd care.
A tokenizer cuts text into words, and words into pieces: the more often a piece occurs, the sooner it becomes a token.
In 2024 there were 365 + 1 days, 12 months and 52 weeks; 1000 + 234 = 1234. for (int i = 0; i < 10; ++i) { x[i] += 2; }
Der Fuß ist größer als die Übung. L'été à la plage était très agréable, déjà vu. El niño comió mañana.
Привет, мир! Как дела? Это хорошо. 你好,世界。这是一个测试。こんにちは世界。안녕하세요 세계. नमस्ते दुनिया. مرحبا بالعالم שלום עולם
When the sun went down, the little girl said hello to the little boy, and the boy said hello to the girl again.
"""
TEXTS = [
    "", " ", "Hello world", "  two  spaces ", "It's we'll THEY'VE I'M who'd 'Sure 'ſ", "Übung größer été", "e\u0301te\u0301 A\u030A\u0323 \u1100\u1161\u11A8",
    "1 12 123 1234 12345 ٣٤ Ⅷ ½ ²", "a\nb\n\n c \r\n\r\n  d\t\te   ", "\n \n  \n", "   leading", "trailing   ", "\u3000\u00a0x\u2003y\u2028z",
    "x=1;y+=2//done\n/*ok*/\r\n", "!!!???...\n\n", "HelloWorld XMLHttpRequest iPhone ABCdef ǅungla ʰa", "中文Abc字DEf文",
    "你好,世界", "Привет, мир!", "नमस्ते दुनिया", "안녕하세요", "مرحبا שלום", "🙂👍🏽👨‍👩‍👧‍👦🇩🇪", "a\u200db\u200c\ufeffc", "\u0000\u0001\u007f\u0085",
    "<s>text</s>", "a<|x|>b <|x|> c", "x [W] y x[W]y", "  <mask>  z", "q<end>  r", "mid b1 dle éa", "<unk><0x41>▁▁ a▁b", "𝒳𐍈🜁", "they’re don’t", "_snake_case__x", "\u0301\u0301a \u0301", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
]


def regex(text, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": text}, "behavior": behavior, "invert": invert}


def byte_level(add_prefix_space=False, use_regex=True):
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": use_regex}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def metaspace(scheme, split=True):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}


def added(number, content, special=True, **flags):
    entry = {"id": number, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    return entry | flags


def template(before, after, ids):
    tokens = {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in before + after}
    special = lambda t: {"SpecialToken": {"id": t, "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    single = [special(t) for t in before] + [text] + [special(t) for t in after]
    return {"type": "TemplateProcessing", "single": single, "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": tokens}


CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LEAD = r"[^\r\n\p{L}\p{N}]?"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + "|" + LEAD + r"\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + SPACES
QWEN2 = LLAMA3.replace("{1,3}", "")
QWEN35 = CONTRACTIONS + "|" + LEAD + r"[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + SPACES
O200K = (LEAD + UPPER + "*" + LOWER + "+" + CONTRACTIONS + "?|" + LEAD + UPPER + "+" + LOWER + "*" + CONTRACTIONS
         + r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + SPACES)
NEMO = (LEAD + UPPER + "*" + LOWER + "+|" + LEAD + UPPER + "+" + LOWER + r"*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + SPACES)


def train(model, special, size, pre_tokenizer, alphabet, texts=(TRAINING,), **options):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    for name, part in options.items():
        setattr(tokenizer, name, part)
    tokenizer.train_from_iterator(list(texts), trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False))
    return json.loads(tokenizer.to_str())


def patched(base, patch):
    whole = copy.deepcopy(base)
    for key, entry in patch.items():
        if key == "model":
            whole["model"].update(entry)
        else:
            whole[key] = entry
    return whole


def write(name, base, variants):
    out = {"base": base, "texts": TEXTS, "variants": []}
    for title, patch in variants.items():
        tokenizer = Tokenizer.from_str(json.dumps(patched(base, patch)))
        ids = [tokenizer.encode(text).ids for text in TEXTS]
        decoded = [tokenizer.decode(i, skip_special_tokens=False) for i in ids]
        plain = [tokenizer.decode(i) for i in ids]
        out["variants"].append({
            "name": title, "patch": patch, "ids": ids,
            # only where they differ from the text, to keep the file small
            "decoded": {str(k): d for k, (d, t) in enumerate(zip(decoded, TEXTS)) if d != t},
            "plain": {str(k): p for k, (p, t) in enumerate(zip(plain, TEXTS)) if p != t},
        })
    text = json.dumps(out, ensure_ascii=False, separators=(",", ":")) + "\n"
    (HERE / name).write_text(text)
    print(name, len(text.encode()), "bytes")


def main():
    special = ["<|x|>", "<end>"]
    base = train(models.BPE(), special, 500, pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.ByteLevel.alphabet(), decoder=decoders.ByteLevel())
    n = len(base["model"]["vocab"])
    extra = base["added_tokens"] + [
        added(n, "[W]", special=False, single_word=True), added(n + 1, "<mask>", lstrip=True), added(n + 2, "b1", special=False, normalized=True),
        added(n + 3, "éa", special=False, normalized=True)]
    extra[1] = added(1, "<end>", rstrip=True)
    nfc = {"type": "NFC"}
    write("tokenizer_bytes_gpt2.json", base, {
        "gpt2": {},
        "prefix space": {"pre_tokenizer": byte_level(True)},
        "split by the gpt2 pattern": {"pre_tokenizer": sequence(regex(GPT2), byte_level(use_regex=False))},
        "smollm": {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": True}, byte_level())},
        "whole numbers": {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": False}, byte_level())},
        "added tokens": {"added_tokens": extra, "normalizer": nfc, "post_processor": {"type": "Sequence", "processors": [
            byte_level(), template(["<|x|>"], ["<end>"], {"<|x|>": 0, "<end>": 1})]}},
        "pairs, whole words first": {"model": {"ignore_merges": True, "merges": [m if isinstance(m, list) else m.split(" ") for m in base["model"]["merges"]]}},
    })
    cut = lambda pattern, **k: {"pre_tokenizer": sequence(regex(pattern, **k), byte_level(use_regex=False))}
    # Here the merges cross every border, so that nothing but the pattern keeps tokens apart.
    uncut = train(models.BPE(), special, 1200, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), pre_tokenizers.ByteLevel.alphabet(),
                  texts=TEXTS, decoder=decoders.ByteLevel())
    write("tokenizer_bytes_words.json", uncut, {
        "gpt2": cut(GPT2), "uncut": {}, "llama3": cut(LLAMA3), "qwen2": cut(QWEN2) | {"normalizer": nfc}, "qwen3.5": cut(QWEN35) | {"normalizer": nfc},
        "o200k": cut(O200K, behavior="Removed", invert=True), "nemo": cut(NEMO),
    })
    fallback = [f"<0x{b:02X}>" for b in range(256)]
    pieces = train(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True), ["<unk>", "<s>", "</s>"] + fallback, 600, pre_tokenizers.Metaspace(), [])
    pieces["added_tokens"] = [t for t in pieces["added_tokens"] if t["id"] < 3]
    llama = {
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": None, "post_processor": template(["<s>"], [], {"<s>": 1}),
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                                                     {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}}
    spaces = lambda scheme, split=True: {"pre_tokenizer": metaspace(scheme, split), "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, metaspace(scheme)]}}
    gemma = {"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
             "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
             "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]}}
    write("tokenizer_pieces.json", pieces, {
        "llama": llama, "metaspace always": spaces("always"), "metaspace first": spaces("first"), "metaspace never": spaces("never", False), "gemma": gemma,
        "fused unknown": llama | {"model": {"byte_fallback": False}}, "unknown": llama | {"model": {"byte_fallback": False, "fuse_unk": False}},
        "nothing for unknown": llama | {"model": {"byte_fallback": False, "unk_token": None}, "decoder": None},
    })


if __name__ == "__main__":
    main()
