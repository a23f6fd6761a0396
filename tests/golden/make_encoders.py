# SPDX-License-Identifier: BSL-1.0
"""Tiny random encoders that score texts: hidden states, scores, the loss of two pairs and its gradients.

encoders/<name>/            config.json and model.safetensors of …ForSequenceClassification with one label (float32)
encoders/<name>/grads.safetensors   gradient of the loss for every parameter
encoders.json               texts (ids), hidden states of every token, scores, loss = mean of -log sigmoid(s0 - s1) over
                            the pairs (text 0, text 1) and (text 2, text 3)
Weights are large enough that attention in both directions, positions and norms all matter.
"""

import shutil

import torch
import transformers

import golden

SIZES = dict(vocab_size=61, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=3, num_labels=1)
ENCODERS = {
    "bert": lambda: transformers.BertConfig(**SIZES, max_position_embeddings=48, type_vocab_size=2),
    "roberta": lambda: transformers.RobertaConfig(
        **SIZES, max_position_embeddings=50, type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5
    ),
}  # fmt: skip


def make(config, seed):
    model = transformers.AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("bias"):
                parameter.copy_(0.3 * noise)
            elif "LayerNorm" in name:
                parameter.copy_(1 + 0.2 * noise)
            elif "embeddings" in name:
                parameter.copy_(noise)
            else:
                parameter.copy_(1.5 * noise / parameter.shape[-1] ** 0.5)
    return model.eval()


def main():
    options = golden.arguments(__doc__)
    golden.setup()
    report = {}
    for index, (name, config) in enumerate(ENCODERS.items()):
        folder = options.out / "encoders" / name
        shutil.rmtree(folder, ignore_errors=True)
        model = make(config(), 300 + index)
        model.save_pretrained(folder)
        (folder / "model.safetensors").chmod(0o644)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
        generator = torch.Generator().manual_seed(11)
        draw = lambda count: torch.randint(3, 61, (count,), generator=generator).tolist()
        begin = draw(5)
        other = draw(37)  # longer than a tile of keys
        texts = [begin + draw(4), begin + draw(7), other + draw(3), other + draw(1)]
        hidden, scores = [], []
        for ids in texts:
            out = model(torch.tensor([ids]), output_hidden_states=True)
            hidden.append(out.hidden_states[-1][0])
            scores.append(out.logits[0, 0])
        loss = -(torch.nn.functional.logsigmoid(scores[0] - scores[1]) + torch.nn.functional.logsigmoid(scores[2] - scores[3])) / 2
        model.zero_grad()
        loss.backward()
        golden.write_tensors(folder / "grads.safetensors", {k: p.grad for k, p in model.named_parameters()})
        report[name] = {
            "texts": texts,
            "prompts": [len(begin), len(other)],
            "hidden": [golden.rows(h.detach()) for h in hidden],
            "scores": [float(str(s.item())) for s in scores],
            "loss": float(str(loss.item())),
        }
    golden.write_json(options.out / "encoders.json", {"packages": golden.versions("torch", "transformers"), **report})


if __name__ == "__main__":
    main()
