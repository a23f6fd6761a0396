# SPDX-License-Identifier: BSL-1.0
"""Generates with the model that `bench_generation --export DIR` wrote, with transformers or llama.cpp, and reports the
same three figures: time to the first token, time of each further greedy token, time of all samples of one prompt.

    python generation.py DIR --engine transformers --precision bf16 --reference DIR/plumb.json --json FILE
    python generation.py DIR --engine llama.cpp --gguf DIR/model-q8_0.gguf --reference DIR/plumb.json --json FILE

The reference is plumb's own report: the prompt, and a greedy reply with its log-probabilities, which the peer computes,
too; the largest difference is in the report. llama.cpp reads the prompt once for all samples (llama_memory_seq_cp).
"""
import argparse
import ctypes
import json
import pathlib
import statistics
import time

from common import peak_megabytes, reset_peak_memory, write_report


def median_milliseconds(repeats, f):
    """By the clock, and of processors."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        f()
        times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return [1e3 * statistics.median(each) for each in zip(*times, strict=True)]


class Transformers:
    def __init__(self, options):
        import torch
        from common import load_model, use_threads
        use_threads(options.threads)
        self.torch = torch
        self.model = load_model(options.folder / "model", "bf16" if options.precision == "bf16" else "fp32").eval()
        self.version = torch.__version__

    def log_probabilities(self, prompt, reply):
        with self.torch.inference_mode():
            ids = self.torch.tensor([prompt + reply])
            logits = self.model(input_ids=ids, logits_to_keep=len(reply) + 1).logits[0, :-1].float()
            logp = logits.log_softmax(-1)
            return [logp[i, token].item() for i, token in enumerate(reply)]

    def generate(self, prompt, tokens, samples, greedy):
        with self.torch.inference_mode():
            ids = self.torch.tensor([prompt])
            how = {"do_sample": False} if greedy else {"do_sample": True, "temperature": 1.0, "top_k": 0,
                                                       "num_return_sequences": samples}
            out = self.model.generate(ids, attention_mask=self.torch.ones_like(ids), max_new_tokens=tokens,
                                      min_new_tokens=tokens, pad_token_id=0, **how)
            assert out.shape == (samples, len(prompt) + tokens)


class LlamaCpp:
    """llama.cpp's C interface; keys and values as it keeps them by default (half precision)."""

    def __init__(self, options):
        import llama_cpp as c
        self.c, self.options, self.version = c, options, c.__version__
        self.quiet = c.llama_log_callback(lambda level, message, data: None)
        c.llama_log_set(self.quiet, ctypes.c_void_p(0))
        c.llama_backend_init()
        self.model = c.llama_model_load_from_file(str(options.gguf).encode(), c.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"llama.cpp does not load {options.gguf}")
        self.vocabulary = c.llama_vocab_n_tokens(c.llama_model_get_vocab(self.model))

    def context(self, cells, samples):
        p = self.c.llama_context_default_params()
        p.n_ctx, p.n_batch, p.n_ubatch, p.n_seq_max = cells, 1024, 512, samples
        p.n_threads = p.n_threads_batch = self.options.threads
        p.kv_unified = True  # samples share the prompt's cells
        context = self.c.llama_init_from_model(self.model, p)
        if not context:
            raise SystemExit("llama.cpp makes no context")
        return context

    def decode(self, context, entries):
        """`entries`: (token, position, sequence, logits wanted)."""
        batch = self.c.llama_batch_init(len(entries), 0, 1)
        batch.n_tokens = len(entries)
        for i, (token, position, sequence, wanted) in enumerate(entries):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position, 1
            batch.seq_id[i][0], batch.logits[i] = sequence, wanted
        status = self.c.llama_decode(context, batch)
        self.c.llama_batch_free(batch)
        if status != 0:
            raise SystemExit(f"llama_decode failed: {status}")

    def log_probabilities(self, prompt, reply):
        import numpy
        ids = prompt + reply
        context = self.context(len(ids) + 64, 1)
        self.decode(context, [(t, i, 0, i >= len(prompt) - 1) for i, t in enumerate(ids[:-1])])
        out = []
        for i, token in enumerate(reply):
            row = self.c.llama_get_logits_ith(context, len(prompt) - 1 + i)
            z = numpy.ctypeslib.as_array(row, shape=(self.vocabulary,)).astype(numpy.float64)
            out.append(float(z[token] - z.max() - numpy.log(numpy.exp(z - z.max()).sum())))
        self.c.llama_free(context)
        return out

    def generate(self, prompt, tokens, samples, greedy):
        c = self.c
        context = self.context(len(prompt) + samples * tokens + 64, samples)
        chain = c.llama_sampler_chain_init(c.llama_sampler_chain_default_params())
        for part in [c.llama_sampler_init_greedy()] if greedy else [c.llama_sampler_init_temp(1.0),
                                                                   c.llama_sampler_init_dist(7)]:
            c.llama_sampler_chain_add(chain, part)
        self.decode(context, [(t, i, 0, i == len(prompt) - 1) for i, t in enumerate(prompt)])
        drawn = [c.llama_sampler_sample(chain, context, -1) for _ in range(samples)]
        memory = c.llama_get_memory(context)
        for k in range(1, samples):
            c.llama_memory_seq_cp(memory, 0, k, -1, -1)
        for step in range(1, tokens):
            self.decode(context, [(t, len(prompt) + step - 1, k, True) for k, t in enumerate(drawn)])
            drawn = [c.llama_sampler_sample(chain, context, k) for k in range(samples)]
        c.llama_sampler_free(chain)
        c.llama_free(context)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--engine", choices=["transformers", "llama.cpp"], required=True)
    parser.add_argument("--precision", default="fp32", help="transformers: fp32 or bf16; llama.cpp: that of the file")
    parser.add_argument("--gguf", type=pathlib.Path)
    parser.add_argument("--reference", type=pathlib.Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    own = json.loads(options.reference.read_text())
    engine = Transformers(options) if options.engine == "transformers" else LlamaCpp(options)
    prompt, tokens, samples = own["prompt"], own["tokens"], own["samples"]
    logp = engine.log_probabilities(prompt, own["greedy"])
    difference = max(abs(a - b) for a, b in zip(logp, own["logp"], strict=True))
    engine.generate(prompt, 2, 1, True)  # warms up
    reset_peak_memory()
    first = median_milliseconds(options.repeats, lambda: engine.generate(prompt, 1, 1, True))
    whole = median_milliseconds(options.repeats, lambda: engine.generate(prompt, tokens, 1, True))
    many = median_milliseconds(options.repeats, lambda: engine.generate(prompt, tokens, samples, False))
    figures = {"prefill": first, "decode": [(w - f) / (tokens - 1) for w, f in zip(whole, first, strict=True)],
               "samples": many}
    report = {"program": options.engine, "version": engine.version, "precision": options.precision,
              "threads": options.threads, "peak_mb": peak_megabytes(), "largest_difference": difference,
              "figures": [{"figure": name, "ms": ms, "processor_ms": processor}
                          for name, (ms, processor) in figures.items()]}
    print(f"{options.engine} {options.precision}: prefill {first[0]:.1f} ms, decode "
          f"{figures['decode'][0]:.2f} ms a token, samples {many[0]:.0f} ms, largest difference {difference:.1e}", flush=True)
    if options.json:
        write_report(options.json, report)


if __name__ == "__main__":
    main()
