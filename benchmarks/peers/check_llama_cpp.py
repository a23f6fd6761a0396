# SPDX-License-Identifier: BSL-1.0
"""Does llama.cpp read the GGUF files that plumb writes, and compute what plumb computes from them?

    python check_llama_cpp.py --plumb build/plumb MODEL [MODEL ...]

Each model is written as f32, f16, bf16 and q8_0. llama.cpp (llama-cpp-python, keys and values in float) and plumb
then continue the same ids greedily, and score the same random ids. llama.cpp rounds the activations to the format of the
weights (f16, bf16, or blocks of 8 bits), plumb does not, so only f32 must agree closely; the others are compared with
what such rounding may do. Families with GELU count as f16: llama.cpp looks its values up in a table of halves. Greedy replies must be equal up to the first place where llama.cpp's two best logits are
closer than the difference of the two programs' log-probabilities. With text: a prompt is encoded by both.
"""
import argparse
import ctypes
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import llama_cpp
import numpy

# The most that the root mean square of the differences of log-probabilities may be, as a share of their spread.
MOST = {"f32": 1e-5, "f16": 5e-3, "bf16": 4e-2, "q8_0": 2e-1}


def program(plumb, *arguments, rows=None):
    text = "".join(json.dumps(row) + "\n" for row in rows) if rows else None
    done = subprocess.run([plumb, *map(str, arguments)], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"plumb {arguments[0]}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def with_tokenizer(model, folder):
    """The model's folder, or a copy with a tokenizer of single bytes: llama.cpp takes no file without one."""
    if not model.is_dir() or any((model / name).exists() for name in ("tokenizer.json", "tokenizer.model")):
        return model
    copy = folder / model.name
    shutil.copytree(model, copy)
    size = json.loads((model / "config.json").read_text())["vocab_size"]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    words = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
             "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
             "model": {"type": "BPE", "vocab": {word: i for i, word in enumerate(alphabet[:size])}, "merges": []}}
    (copy / "tokenizer.json").write_text(json.dumps(words))
    return copy


def drop_tensors(path, unwanted):
    """Writes a safetensors file again without some of its tensors."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header, data, kept = json.loads(raw[8:8 + size]), raw[8 + size:], b""
    for name in sorted(name for name in header if name != "__metadata__"):
        if unwanted(name):
            del header[name]
            continue
        begin, end = header[name]["data_offsets"]
        header[name]["data_offsets"] = [len(kept), len(kept) + end - begin]
        kept += data[begin:end]
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(len(head).to_bytes(8, "little") + head + kept)


def as_published(model, folder):
    """A copy of a small model whose config.json has the windows and scales that llama.cpp fixes by the architecture."""
    config = json.loads((model / "config.json").read_text())
    family = config["model_type"]
    changes = {"gemma2", "gemma3_text", "cohere2", "smollm3", "falcon", "olmoe"}
    if family not in changes:
        return model
    copy = folder / "as published" / model.name
    shutil.copytree(model, copy)
    every = {"gemma2": 2, "gemma3_text": 6, "cohere2": 4}.get(family)
    if every:
        config["layer_types"] = [("sliding" if (i + 1) % every else "full") + "_attention"
                                 for i in range(config["num_hidden_layers"])]
    if family.startswith("gemma"):
        config["query_pre_attn_scalar"] = config["head_dim"]
    if family == "olmoe":
        config["clip_qkv"] = None
    if family == "smollm3":
        config["no_rope_layers"] = None
    if family == "falcon" and config["bias"]:
        config["bias"] = False
        drop_tensors(copy / "model.safetensors", lambda name: name.endswith(".bias") and ".ln_" not in name)
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def log_softmax(row):
    row = row.astype(numpy.float64)
    row = row - row.max()
    return row - numpy.log(numpy.exp(row).sum())


class Llama:
    """llama.cpp on token ids, all logits kept."""

    def __init__(self, path, context, adapter=None):
        float32 = 0
        self.model = llama_cpp.Llama(str(path), n_ctx=context, n_batch=context, n_ubatch=context, logits_all=True,
                                     n_threads=2, n_threads_batch=2, type_k=float32, type_v=float32, flash_attn=False,
                                     lora_path=str(adapter) if adapter else None, verbose=False)

    def logits(self, ids):
        """[tokens, vocabulary] for a fresh sequence."""
        self.model.reset()
        self.model.eval(ids)
        return numpy.array(self.model.scores[:len(ids)])

    def greedy(self, ids, count):
        """The most probable continuation, and how far the second best logit lay below at each place."""
        self.model.reset()
        self.model.eval(ids)
        out, gaps = [], []
        for _ in range(count):
            row = self.model.scores[self.model.n_tokens - 1]
            best = numpy.partition(row, -2)[-2:]
            gaps.append(float(best.max() - best.min()))
            out.append(int(row.argmax()))
            self.model.eval(out[-1:])
        return out, gaps

    def encode(self, text):
        return self.model.tokenize(text.encode(), add_bos=False, special=False)

    @property
    def vocabulary(self):
        return self.model.n_vocab()


def context_of(path):
    """The length that the file says: the smallest window where llama.cpp has none."""
    metadata = llama_cpp.Llama(str(path), vocab_only=True, verbose=False).metadata
    return int(metadata[metadata["general.architecture"] + ".context_length"])


def uses_gelu(peer):
    return peer.model.metadata["general.architecture"] in (
        "gemma", "gemma2", "gemma3", "gpt2", "gptneox", "falcon", "mpt", "phi2", "starcoder2")


def compare(plumb, path, kind, count, text, adapter=None):
    """`adapter`: a PEFT folder and the file for llama.cpp that plumb made of it."""
    length = min(96, context_of(path))
    peer = Llama(path, 2 * length + count, adapter and adapter[1])
    model = ["--model", path, "--quiet", *(["--adapter", adapter[0]] if adapter else [])]
    draw = numpy.random.default_rng(7)
    ids = [int(i) for i in draw.integers(3, peer.vocabulary, length)]
    logits = peer.logits(ids)
    theirs = numpy.array([log_softmax(logits[i])[ids[i + 1]] for i in range(length - 1)])
    ours = numpy.array(program(plumb, "score", *model, rows=[{"ids": ids}])[0]["logp"])
    worst = float(numpy.abs(ours - theirs).max())
    share = float(numpy.sqrt(numpy.mean((ours - theirs) ** 2)) / theirs.std())
    most = max(MOST[kind], MOST["f16"] if uses_gelu(peer) else 0)
    prompt = ids[:min(8, length // 2)]
    count = min(count, length - len(prompt)) if length < 96 else count
    expected, gaps = peer.greedy(prompt, count)
    found = program(plumb, "generate", *model, "--temperature", 0, "--max-tokens", count,
                    rows=[{"ids": prompt}])[0]["ids"]
    same = next((i for i, (a, b) in enumerate(zip(expected, found)) if a != b), min(len(expected), len(found)))
# A reply of plumb ends at its end-of-text token; llama.cpp's loop here goes on.
    equal = same == len(found) or gaps[same] <= 2 * worst
    words = "no text compared"
    if text:
        a = peer.encode(text)
        b = program(plumb, "tokenize", "--model", path, "--quiet", rows=[{"text": text}])[0]["ids"]
        words = f"text {'equal' if a == b else 'DIFFERS'} ({len(a)} tokens)"
        equal = equal and a == b
    verdict = equal and share <= most
    name = path.stem + (" + adapter" if adapter else "")
    print(f"{name:32} {kind:5} largest difference of {length - 1} log-probabilities {worst:.1e}, rms "
          f"{share:.1e} of their spread (at most {most:.0e}), greedy: {same} of {len(found)} equal, {words}: {'ok' if verdict else 'NOT EQUAL'}")
    return verdict


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--plumb", default="build/plumb")
    parser.add_argument("--types", default="f32,f16,bf16,q8_0")
    parser.add_argument("--count", type=int, default=64, help="tokens of the greedy reply")
    parser.add_argument("--adapter", type=pathlib.Path, action="append", default=[], help="a PEFT folder for the models")
    parser.add_argument("--as-published", action="store_true",
                        help="give small models the windows and scales that llama.cpp fixes by the architecture")
    parser.add_argument("--text", default="", help="encode this, too")
    options = parser.parse_args()
    quiet = llama_cpp.llama_log_callback(lambda level, message, data: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            if options.as_published:
                model = as_published(model, pathlib.Path(folder))
            model = with_tokenizer(model, pathlib.Path(folder))
            for kind in options.types.split(","):
                path = pathlib.Path(folder) / f"{model.parent.name}-{model.name}-{kind}.gguf"
                program(options.plumb, "convert", "--model", model, "--out", path, "--type", kind, "--quiet")
                good = compare(options.plumb, path, kind, options.count, options.text) and good
                for adapter in options.adapter:
                    there = path.with_suffix(".adapter.gguf")
                    program(options.plumb, "convert", "--model", model, "--adapter", adapter, "--out", there, "--type",
                            "f32", "--quiet")
                    good = compare(options.plumb, path, kind, options.count, "", (adapter, there)) and good
                    there.unlink()
                path.unlink()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
