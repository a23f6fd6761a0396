# SPDX-License-Identifier: BSL-1.0
"""Does transformers read a model folder? check_model.py MODEL IDS_JSON prints {"logits": [[..] per position],
"parameters": n} of a list of ids.

IDS_JSON as in check_adapter.py. Ends with 1 when the folder lacks a tensor of the model, has one too many or one of
another shape. --f64 computes in float64.
"""

import argparse
import json
import sys

import torch
import transformers

import golden
from check_adapter import ids_of


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("ids", type=ids_of)
    parser.add_argument("--f64", action="store_true")
    options = parser.parse_args()
    golden.setup()
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        options.model, dtype=torch.float32, attn_implementation="eager", local_files_only=True, output_loading_info=True
    )
    wrong = {name: sorted(map(str, found)) for name, found in report.items() if found}
    if wrong:
        raise SystemExit(f"the folder does not fit the model: {wrong}")
    model = model.to(torch.float64 if options.f64 else torch.float32).eval()
    with torch.no_grad(), golden.exact_llama(options.f64):
        table = golden.logits(model, options.ids)
    print(json.dumps({"logits": golden.rows(table), "parameters": sum(p.numel() for p in model.parameters())}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
