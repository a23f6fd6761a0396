# SPDX-License-Identifier: BSL-1.0
"""Does PEFT read an adapter? check_adapter.py MODEL ADAPTER IDS_JSON prints {"logits": [[..] per position],
"trainable": n} of a list of ids.

IDS_JSON is a file with one list of ids or the list itself, e.g. '[1, 403, 407]'. Ends with 1 and the names when a
tensor of the adapter is missing or unexpected (PEFT alone would only warn). --f64 computes in float64, --off switches
the adapter off.
"""

import argparse
import json
import os
import sys

import torch

import golden


def ids_of(text):
    """A list of ids from a JSON file or from JSON text."""
    if os.path.exists(text):
        with open(text, encoding="utf-8") as file:
            text = file.read()
    ids = json.loads(text)
    if not isinstance(ids, list) or not ids or not all(isinstance(i, int) for i in ids):
        raise SystemExit(f"expected a JSON list of token ids such as [1, 2, 3], found {text[:60]!r}")
    return ids


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("adapter")
    parser.add_argument("ids", type=ids_of)
    parser.add_argument("--f64", action="store_true")
    parser.add_argument("--off", action="store_true")
    options = parser.parse_args()
    golden.setup()
    model = golden.load_adapter(options.model, options.adapter, torch.float64 if options.f64 else torch.float32)
    with torch.no_grad(), golden.exact_llama(options.f64):
        if options.off:
            with model.disable_adapter():
                table = golden.logits(model, options.ids)
        else:
            table = golden.logits(model, options.ids)
    print(
        json.dumps(
            {"logits": golden.rows(table), "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad)}
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
