#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Writes chat/: a small tokenizer with chat templates, and what transformers makes of conversations with it.

    make_chat.py            needs transformers, tokenizers and jinja2
"""
import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

FOLDER = Path(__file__).resolve().parent / "chat"
TRAINING = """user assistant system Once upon a time there was a little dog. The dog said hello to the cat and the cat said hello.
What is two and two? It is four. Good bye, little dog. You are a friendly helper. tool call weather city"""
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|end|>"]
MARKED = ("{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant\n{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}\n"
          "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
PLAIN = ("{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
         "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
TOOL_USE = "{{ bos_token }}{% for t in tools %}{{ t.function.name }} {% endfor %}" + PLAIN
ENDED = ("{{ bos_token }}{% for m in messages %}{{ m.role + ': ' + m.content }}{% if m.role == 'assistant' %}{{ '<|end|>\\n' }}{% else %}{{ '\\n' }}{% endif %}"
         "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% else %}{{ eos_token }}{% endif %}")
STRIPPED = ("{% for m in messages %}{% set c = m.content %}{% if m.role == 'assistant' and not loop.last %}{% set c = c.split('</think>')[-1] %}{% endif %}"
            "{{ '<|im_start|>' + m.role + '\\n' + c + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")

TALKS = {
    "turns": [{"role": "system", "content": "You are a friendly helper."}, {"role": "user", "content": "What is two and two?"},
              {"role": "assistant", "content": "It is four."}, {"role": "user", "content": "Good bye"}, {"role": "assistant", "content": "hello 你好 😀!"}],
    "one": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Once upon a time"}],
    "thought": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>hm</think>b"}, {"role": "user", "content": "c"},
                {"role": "assistant", "content": "<think>so</think>d"}],
}


def main():
    FOLDER.mkdir(exist_ok=True)
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    core.train_from_iterator([TRAINING], trainer)
    core.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))])
    core.save(str(FOLDER / "tokenizer.json"), pretty=False)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": {"content": "<|im_end|>", "lstrip": False},
              "chat_template": [{"name": "default", "template": MARKED}, {"name": "tool_use", "template": TOOL_USE}]}
    (FOLDER / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")

    words = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="<|im_end|>")
    cases = []
    for name, template in {"marked": MARKED, "plain": PLAIN, "ended": ENDED, "stripped": STRIPPED}.items():
        for talk, messages in TALKS.items():
            case = {"template": name, "talk": talk}
            full = words.apply_chat_template(messages, chat_template=template, tokenize=False)
            case["text"] = full
            out = words.apply_chat_template(messages, chat_template=template, tokenize=True, return_dict=True,
                                            return_assistant_tokens_mask=name == "marked")
            case["ids"] = out["input_ids"]
            if name == "marked":
                case["mask"] = out["assistant_masks"]
            # As TRL does it: the prompt with its generation prompt, and the completion as what the whole adds.
            prompt = words.apply_chat_template(messages[:-1], chat_template=template, tokenize=False, add_generation_prompt=True)
            shared = 0
            while shared < len(prompt) and shared < len(full) and prompt[shared] == full[shared]:
                shared += 1
            case["prompt"] = full[:shared]
            case["completion"] = full[shared:]
            case["prompt_ids"] = words(full[:shared], add_special_tokens=False)["input_ids"]
            cases.append(case)
    tools = [{"type": "function", "function": {"name": "weather"}}]
    two = {"default": MARKED, "tool_use": TOOL_USE}
    words.chat_template = two
    cases_tools = {"text": words.apply_chat_template(TALKS["one"], tools=tools, tokenize=False),
                   "ids": words.apply_chat_template(TALKS["one"], tools=tools, tokenize=True, return_dict=True)["input_ids"], "tools": tools}
    result = {"templates": {"marked": MARKED, "plain": PLAIN, "ended": ENDED, "stripped": STRIPPED}, "talks": TALKS, "cases": cases, "tools": cases_tools}
    (FOLDER / "cases.json").write_text(json.dumps(result, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
