"""The peer that kdx is measured against: one knowledge-distillation step, in PyTorch.

The MiniMind recipe on the MiniMind shapes: student 512x1 (6.1 M parameters),
teacher 768x2 (17.3 M), vocabulary 6400, alpha 0.5, temperature 1.5, AdamW,
gradient norm clipped to 1. Prints one JSON line: tokens/s and peak memory.

    pip install torch transformers
    python benches/peer/pytorch_kd.py --mode fp32|bf16 [--compile] [--batch 8] [--seq 512] [--seconds 20] [--vocab 6400]

`benches/speed.py` runs it and `kdx bench` in turn. All tokens count; `kdx bench` leaves out the last of each
sequence, which has no next token (1 of 512).
"""
import argparse, contextlib, json, resource, time
import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

a = argparse.ArgumentParser()
a.add_argument("--mode", choices=["fp32", "bf16"], default="fp32")
a.add_argument("--compile", action="store_true")
a.add_argument("--batch", type=int, default=8)
a.add_argument("--seq", type=int, default=512)
a.add_argument("--seconds", type=float, default=20)
a.add_argument("--vocab", type=int, default=6400)
a.add_argument("--student", default="512x1")
a.add_argument("--teacher", default="768x2")
a.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
a = a.parse_args()
torch.manual_seed(0)


def llama(shape):
    hidden, layers = map(int, shape.split("x"))
    inter = -(-int(8 * hidden / 3) // 64) * 64
    return LlamaForCausalLM(LlamaConfig(
        hidden_size=hidden, num_hidden_layers=layers, intermediate_size=inter, num_attention_heads=8,
        num_key_value_heads=2, vocab_size=a.vocab, max_position_embeddings=a.seq, rope_theta=1e6,
        rms_norm_eps=1e-5, tie_word_embeddings=True, attn_implementation="sdpa")).to(a.device)


student, teacher = llama(a.student).train(), llama(a.teacher).eval().requires_grad_(False)
optimizer = torch.optim.AdamW(student.parameters(), lr=5e-4)
context = torch.autocast(a.device, dtype=torch.bfloat16) if a.mode == "bf16" else contextlib.nullcontext()
forward_s, forward_t = (torch.compile(student), torch.compile(teacher)) if a.compile else (student, teacher)
ids = torch.randint(0, a.vocab, (a.batch, a.seq), device=a.device)
labels = torch.randint(0, a.vocab, (a.batch, a.seq), device=a.device)
tau, alpha = 1.5, 0.5


def step():
    with context:
        s = forward_s(ids).logits.flatten(0, 1)
        with torch.no_grad():
            t = forward_t(ids).logits.flatten(0, 1)[:, : s.size(-1)]
    with torch.no_grad():
        p = F.softmax(t / tau, dim=-1)
    soft = tau * tau * F.kl_div(F.log_softmax(s / tau, dim=-1), p, reduction="batchmean")
    loss = alpha * F.cross_entropy(s, labels.flatten()) + (1 - alpha) * soft
    loss.backward()
    torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()  # waits for the device


for _ in range(3):
    loss = step()
start, steps, times = time.time(), 0, []
while time.time() - start < a.seconds:
    before = time.time(); loss = step(); times.append(time.time() - before); steps += 1
times.sort()
peak = torch.cuda.max_memory_allocated() if a.device == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"peer": "pytorch", "version": torch.__version__, "mode": a.mode, "compile": a.compile, "device": a.device,
                  "batch": a.batch, "seq": a.seq, "student": a.student, "teacher": a.teacher, "vocab": a.vocab,
                  "tokens_per_s": round(a.batch * a.seq / times[len(times) // 2]), "steps": steps,
                  "peak_mib": round(peak / 2**20), "loss": loss}))
