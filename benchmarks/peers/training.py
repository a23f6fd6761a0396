# SPDX-License-Identifier: BSL-1.0
"""Trains what `bench_training --export DIR` wrote with PyTorch, transformers, PEFT and TRL, and reports what the
benchmark reports: milliseconds a step (the first does not count, the median of the others does, with a step's share
of the references' scoring), peak memory, losses and norms of the gradient.

    python training.py DIR --method dpo --engine torch --precision fp32 --threads 2 --json FILE

Engines: `torch` is a loop by hand, as fast as PyTorch allows (logits of replies alone, the reference scored once, chosen
and rejected in one pass, fused AdamW); `trl` is TRL's trainer, given token ids and otherwise left alone.
"""
import argparse
import contextlib
import json
import pathlib
import statistics
import time

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel

from common import PRECISIONS, arithmetic, load_model, peak_megabytes, reset_peak_memory, use_threads, write_report


def sequences(rows, mismatched=False):
    """Prompts with replies as one list of ids each; of a pair all chosen ones come first, as in TRL."""
    replies = len(rows[0]["replies"])
    if mismatched:
        return [(row["prompt"], row["mismatched"]) for row in rows]
    return [(row["prompt"], row["replies"][k]) for k in range(replies) for row in rows]


def log_probabilities(model, batch, precision):
    """log π of each reply's tokens, [replies, tokens]; the batch has one length, so nothing is padded."""
    ids = torch.tensor([prompt + reply for prompt, reply in batch])
    first = len(batch[0][0])
    with arithmetic(precision):
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=ids.shape[1] - first + 1).logits
    targets = ids[:, first:]
    return -F.cross_entropy(logits[:, :-1].float().flatten(0, 1), targets.flatten(), reduction="none").view(
        targets.shape)


def summed_log_probabilities(model, batch, precision):
    """log π of each reply and the number of its tokens."""
    each = log_probabilities(model, batch, precision)
    return each.sum(1), each.shape[1]


def clipped_surrogate(logp, rows, clip=0.2):
    """PPO's loss of the policy on replies that were sampled before."""
    replies = range(len(rows[0]["replies"]))  # one reply of every row, then the next: as `sequences` has them
    old = torch.tensor([row["old"][k] for k in replies for row in rows])
    advantage = torch.tensor([row["advantages"][k] for k in replies for row in rows]).unsqueeze(1)
    ratio = torch.exp(logp - old)
    return -torch.min(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()


def references_of(model, steps, precision, mismatched):
    """Log-probabilities under the reference, for every step; twice where a baseline needs it. The reference is the model
    without its adapter, or without one the model before its first step."""
    out = []
    reference = model.disable_adapter() if isinstance(model, PeftModel) else contextlib.nullcontext()
    with torch.no_grad(), reference:
        for rows in steps:
            own, _ = summed_log_probabilities(model, sequences(rows), precision)
            other = summed_log_probabilities(model, sequences(rows, True), precision)[0] if mismatched else None
            out.append((own, other))
    return out


def loss_of(method, model, rows, reference, beta, precision):
    if method == "ppo":
        return clipped_surrogate(log_probabilities(model, sequences(rows), precision), rows)
    baseline = 0.0
    if method == "kto":
        with torch.no_grad():
            other, _ = summed_log_probabilities(model, sequences(rows, True), precision)
        baseline = (other - reference[1]).mean().clamp(min=0)
    logp, length = summed_log_probabilities(model, sequences(rows), precision)
    if method == "sft":
        return -logp.sum() / (length * len(rows))
    if method == "kto":
        value = beta * (logp - reference[0] - baseline)
        sign = torch.tensor([1.0 if row["desirable"] else -1.0 for row in rows])
        return torch.sigmoid(-sign * value).mean()
    chosen, rejected = logp.chunk(2)
    if method == "dpo":
        margin = (chosen - reference[0].chunk(2)[0]) - (rejected - reference[0].chunk(2)[1])
        return -F.logsigmoid(beta * margin).mean()
    c, r = chosen / length, rejected / length  # orpo
    odds = (c - r) - (torch.log(-torch.expm1(c)) - torch.log(-torch.expm1(r)))
    return (-c - beta * F.logsigmoid(odds)).mean()


def prepared_model(options):
    model = load_model(options.folder / "model", options.precision)
    if options.full:
        return model
    model = PeftModel.from_pretrained(model, options.folder / "adapter", is_trainable=True)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


class Times:
    """When steps ended. What a step takes contains everything that is done between two of them."""

    def __init__(self):
        self.last = self.now()
        self.steps = []

    @staticmethod
    def now():
        """Wall clock, and processor time of all threads, which hardly depends on what else the machine does."""
        return time.perf_counter(), time.process_time()

    def lap(self):
        now = self.now()
        took = tuple(a - b for a, b in zip(now, self.last, strict=True))
        self.last = now
        return took

    def step(self):
        self.steps.append(self.lap())


def train_by_hand(options, job, optimiser_options):
    model = prepared_model(options)
    model.train()
    run = torch.compile(model) if options.compile else model
    learnt = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=optimiser_options["rate"], betas=optimiser_options["betas"],
                                  eps=optimiser_options["epsilon"], weight_decay=0.0, fused=True)
    steps = job["steps"]
    reset_peak_memory()
    times, losses, norms = Times(), [], []
    references = [None] * len(steps)
    before = (0.0, 0.0)
    if options.method in ("dpo", "kto"):
        references = references_of(model, steps, options.precision, options.method == "kto")
        before = times.lap()
    for rows, reference in zip(steps, references, strict=True):
        loss = loss_of(options.method, run, rows, reference, options.beta, options.precision)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(learnt, optimiser_options["clip"]).item())
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(loss.item())
        times.step()
    return times.steps, [each / len(steps) for each in before], losses, norms


def word_tokenizer():
    """TRL's trainers want a tokenizer even for token ids; all that is asked of it is the padding token."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    words = Tokenizer(models.WordLevel({"<eos>": 0, "<unk>": 1}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", pad_token="<eos>", unk_token="<unk>")


def trl_rows(method, steps):
    for rows in steps:
        for row in rows:
            prompt, replies = row["prompt"], row["replies"]
            if method == "sft":
                yield {"input_ids": prompt + replies[0]}
            elif method == "kto":
                yield {"prompt_ids": prompt, "completion_ids": replies[0], "KL_completion_ids": row["mismatched"],
                       "label": row["desirable"]}
            elif method == "dpo":
                yield {"prompt_ids": prompt, "chosen_ids": replies[0], "rejected_ids": replies[1]}
            else:
                out = {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
                for name, reply in zip(("chosen", "rejected"), replies, strict=True):
                    ids = prompt + reply
                    out |= {f"{name}_input_ids": ids, f"{name}_attention_mask": [1] * len(ids),
                            f"{name}_labels": [-100] * len(prompt) + reply}
                yield out


def trl_classes(method):
    if method == "ppo":
        raise SystemExit("TRL's trainers sample by themselves; none takes replies that were sampled before")
    if method == "sft":
        from trl import SFTConfig, SFTTrainer
        return SFTTrainer, SFTConfig
    if method == "dpo":
        from trl import DPOConfig, DPOTrainer
        return DPOTrainer, DPOConfig
    if method == "kto":
        from trl import KTOConfig, KTOTrainer
        return KTOTrainer, KTOConfig
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer
    return ORPOTrainer, ORPOConfig


def train_with_trl(options, job, optimiser_options):
    from datasets import Dataset
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file
    from torch.utils.data import SequentialSampler
    from transformers import TrainerCallback

    trainer_class, config_class = trl_classes(options.method)
    steps, times = job["steps"], Times()

    class OfTokenIds(trainer_class):
        def _prepare_dataset(self, dataset, *_, **__):
            return dataset

        def tokenize_row(self, row, *_, **__):
            return row

        def _get_train_sampler(self, *_, **__):
            return SequentialSampler(self.train_dataset)

    class Watch(TrainerCallback):
        def on_train_begin(self, *_, **__):
            reset_peak_memory()
            times.lap()

        def on_step_end(self, *_, **__):
            times.step()

    length = max(len(row["prompt"]) + len(reply) for rows in steps for row in rows for reply in row["replies"])
    extra = {} if options.method == "sft" else {"beta": options.beta}
    arguments = config_class(
        output_dir=str(options.folder / "trl"), per_device_train_batch_size=len(steps[0]), max_length=length,
        num_train_epochs=1, learning_rate=optimiser_options["rate"], lr_scheduler_type="constant",
        adam_beta1=optimiser_options["betas"][0], adam_beta2=optimiser_options["betas"][1],
        adam_epsilon=optimiser_options["epsilon"], weight_decay=0.0, max_grad_norm=optimiser_options["clip"],
        logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True,
        bf16=options.precision != "fp32", fp16=False, gradient_checkpointing=False, optim="adamw_torch_fused",
        torch_compile=options.compile, **extra)
    model = load_model(options.folder / "model", options.precision)
    adapter = None if options.full else LoraConfig.from_pretrained(options.folder / "adapter")
    if adapter is not None:
        adapter.inference_mode = False
    trainer = OfTokenIds(model=model, args=arguments, train_dataset=Dataset.from_list(list(trl_rows(options.method, steps))),
                         processing_class=word_tokenizer(), peft_config=adapter, callbacks=[Watch()])
    if adapter is not None:  # the reference stays the model without adapter, as in plumb
        set_peft_model_state_dict(trainer.model, load_file(options.folder / "adapter" / "adapter_model.safetensors"))
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    return times.steps, [0.0, 0.0], [entry["loss"] for entry in log], [entry["grad_norm"] for entry in log], [
        entry.get("log_odds_ratio") for entry in log]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--method", choices=["sft", "dpo", "orpo", "kto", "ppo"], required=True)
    parser.add_argument("--engine", choices=["torch", "trl"], default="torch")
    parser.add_argument("--precision", choices=list(PRECISIONS), default="fp32")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--full", action="store_true", help="all weights instead of the adapter")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=0, help="that count; 0: as many as were exported")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    use_threads(options.threads)
    data = json.loads((options.folder / "data.json").read_text())
    options.beta = data["beta"]
    job = data["methods"][options.method]
    if options.steps:
        job["steps"] = job["steps"][:options.steps + 1]
    train = train_by_hand if options.engine == "torch" else train_with_trl
    steps, reference, losses, norms, *odds = train(options, job, data["optimiser"])
    seconds, processor = (statistics.median(each) + before
                          for each, before in zip(zip(*steps[1:], strict=True), reference, strict=True))
    report = {
        "program": options.engine, "version": torch.__version__, "method": options.method,
        "precision": options.precision, "compile": options.compile, "trained": "full" if options.full else "lora",
        "threads": options.threads, "tokens": job["tokens"], "ms": 1e3 * seconds,
        "processor_ms": 1e3 * processor, "ms_of_steps": [1e3 * each for each, _ in steps[1:]],
        "ms_of_reference": 1e3 * reference[0],
        "tokens_per_second": job["tokens"] / seconds, "peak_mb": peak_megabytes(), "losses": losses,
        "gradient_norms": norms}
    if odds and odds[0] and odds[0][0] is not None:
        report["log_odds_ratios"] = odds[0]
    print(f"{options.engine:6} {options.precision:9} {options.method:5} {1e3 * seconds:10.1f} ms a step "
          f"{report['tokens_per_second']:8.1f} tokens/s {report['peak_mb']:7.0f} MB  loss {losses[0]:.6f}  "
          f"norm {norms[0]:.6f}", flush=True)
    if options.json:
        write_report(options.json, report)


if __name__ == "__main__":
    main()
