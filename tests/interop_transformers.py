"""Checks that kdx and transformers compute the same from the same model directory, both ways.

    python tests/interop_transformers.py [--binary target/release/examples/logits]

Needs Python with torch and transformers; without them it says so and exits with 77 (skipped).
1. Random models saved by transformers must give the same logits in kdx within 1e-4 of their scale: Llama
   (tied and untied, f32, f16 and bf16, sharded, several groupings of the heads, heads of their own width,
   biases, the rotary stretching of Llama 3.1), Qwen 2 and Qwen 3.
2. Each of them written again by kdx must load in transformers and give the same logits.
"""
import argparse, json, os, pathlib, subprocess, sys, tempfile

try:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar
except ImportError as error:
    print(f"skipped: needs Python with torch and transformers ({error})")
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOLERANCE = 1e-4
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
BASE = dict(hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, vocab_size=199, max_position_embeddings=256, initializer_range=0.2,
            rms_norm_eps=1e-5, rope_theta=1e4, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
            attn_implementation="eager")
CASES = {
    "tied": {},
    "untied": dict(tie_word_embeddings=False),
    "one key-value head": dict(num_key_value_heads=1),
    "a key-value head for each head": dict(num_key_value_heads=4, tie_word_embeddings=False),
    "six heads in groups of three": dict(hidden_size=96, num_attention_heads=6, num_key_value_heads=2),
    "heads of their own width": dict(head_dim=24),
    "another base and epsilon": dict(rope_theta=1e6, rms_norm_eps=1e-3),
    "several ends": dict(eos_token_id=[2, 5], tie_word_embeddings=False),
    "llama 3.1": dict(rope_parameters=LLAMA3),
    "f16": dict(dtype=torch.float16),
    "bf16": dict(dtype=torch.bfloat16, tie_word_embeddings=False),
    "sharded": dict(shard="40KB", tie_word_embeddings=False),
    "bf16, sharded, tied": dict(dtype=torch.bfloat16, shard="30KB"),
    "biases of the attention": dict(attention_bias=True),
    "biases everywhere, untied": dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=False),
    "qwen2": dict(model_type="qwen2"),
    "qwen2, untied, bf16": dict(model_type="qwen2", tie_word_embeddings=False, dtype=torch.bfloat16),
    "qwen3": dict(model_type="qwen3", head_dim=24),
    "qwen3, heads of the hidden width, sharded": dict(model_type="qwen3", head_dim=16, shard="40KB"),
    "qwen3, biases": dict(model_type="qwen3", head_dim=24, attention_bias=True, tie_word_embeddings=False),
}


def binary(argument):
    if argument:
        return argument
    subprocess.run(["cargo", "build", "--release", "--quiet", "--example", "logits"], cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release" / "examples" / "logits"


def off_by(found, expected):
    """The largest difference, as a fraction of the largest logit."""
    return ((found - expected).abs().max() / expected.abs().max()).item()


def check(program, name, case, work):
    case = dict(case)
    dtype, shard = case.pop("dtype", torch.float32), case.pop("shard", "5GB")
    kind = case.pop("model_type", "llama")
    torch.manual_seed(len(name))
    settings = {**BASE, **case}
    if "rope_parameters" in settings:
        settings.pop("rope_theta")
    attention = settings.pop("attn_implementation")
    config = AutoConfig.for_model(kind, **settings)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    for parameter in model.parameters():  # norms away from one and biases from zero, so that they are tested
        if parameter.dim() == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
    model = model.to(dtype)
    saved, copied = work / "saved", work / "copied"
    model.save_pretrained(saved, max_shard_size=shard)
    if shard != "5GB":
        assert (saved / "model.safetensors.index.json").exists(), "not sharded"
    ids = torch.randint(0, BASE["vocab_size"], (3, 70))
    # Read back rather than used as it is: `to` also rounded the frequencies of the rotary embedding.
    model = AutoModelForCausalLM.from_pretrained(saved, dtype=torch.float32, attn_implementation=attention)
    with torch.no_grad():
        expected = model.eval().double()(ids).logits
    run = subprocess.run([program, saved, json.dumps(ids.tolist()), copied], capture_output=True, text=True)
    if run.returncode:
        return f"kdx refused it: {run.stderr.strip()}"
    found = torch.tensor(json.loads(run.stdout), dtype=torch.float64)
    into = off_by(found, expected)
    again, report = AutoModelForCausalLM.from_pretrained(copied, dtype=torch.float32, output_loading_info=True)
    unexpected = {key: value for key, value in report.items() if value}
    if unexpected:
        return f"transformers reports {unexpected}"
    if type(again) is not type(model):
        return f"{type(model).__name__} became {type(again).__name__}"
    with torch.no_grad():
        out = off_by(again.eval().double()(ids).logits, expected)
    print(f"{name}: into kdx off by {into:.1e}, out of kdx off by {out:.1e}")
    if not (into < TOLERANCE and out < TOLERANCE):  # also true for NaN
        return f"off by {max(into, out)}"
    return None


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--binary", help="the example `logits`, built; left out, cargo builds it")
    disable_progress_bar()
    program = str(binary(arguments.parse_args().binary))
    failed = 0
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as work:
            problem = check(program, name, case, pathlib.Path(work))
        if problem:
            failed += 1
            print(f"{name}: FAILED: {problem}")
    print(f"{len(CASES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
