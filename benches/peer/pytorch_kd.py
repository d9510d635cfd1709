"""One distillation training step in PyTorch, measured: what `kdx bench` is compared with.

    python benches/peer/pytorch_kd.py [--student 512x1 --teacher 768x2 --vocab 6400 --batch 8 --seq 512]
                                      [--precision fp32|bf16] [--compile] [--seconds 20] [--warmup 3]

Needs Python with torch, and for `--compile` a C++ compiler. Prints one JSON object.

The step is the one of `kdx bench`: models of the Llama layout in MiniMind's proportions with tied heads,
random ids and labels, every label counts, cross-entropy and forward KL at a temperature, AdamW with
clipping by global norm. It is written the way one writes PyTorch to be fast: fused attention, fused AdamW,
a teacher without gradients (in bf16 with bf16 weights), autocast for bf16, and with `--compile` both models
and the loss compiled as one function.
"""
import argparse, json, math, resource, statistics, sys, time

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError as error:
    sys.exit(f"needs Python with torch ({error})")

LEAST_STEPS = 3
HEADS, KV_HEADS, ROPE_THETA, EPSILON = 8, 2, 1e6, 1e-5


class Block(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.head_dim = hidden // HEADS
        intermediate = 64 * math.ceil(hidden * 8 / 3 / 64)
        linear = lambda rows, columns: nn.Linear(columns, rows, bias=False)
        self.attention_norm = nn.RMSNorm(hidden, eps=EPSILON)
        self.query = linear(hidden, hidden)
        self.key = linear(KV_HEADS * self.head_dim, hidden)
        self.value = linear(KV_HEADS * self.head_dim, hidden)
        self.output = linear(hidden, hidden)
        self.mlp_norm = nn.RMSNorm(hidden, eps=EPSILON)
        self.gate = linear(intermediate, hidden)
        self.up = linear(intermediate, hidden)
        self.down = linear(hidden, intermediate)

    def forward(self, x, cos, sin):
        batch, sequence, hidden = x.shape
        normed = self.attention_norm(x)
        heads = lambda y: y.view(batch, sequence, -1, self.head_dim).transpose(1, 2)
        query, key, value = heads(self.query(normed)), heads(self.key(normed)), heads(self.value(normed))
        query, key = rotated(query, cos, sin), rotated(key, cos, sin)
        repeated = lambda y: y.repeat_interleave(HEADS // KV_HEADS, dim=1)
        seen = F.scaled_dot_product_attention(query, repeated(key), repeated(value), is_causal=True)
        x = x + self.output(seen.transpose(1, 2).reshape(batch, sequence, hidden))
        normed = self.mlp_norm(x)
        return x + self.down(F.silu(self.gate(normed)) * self.up(normed))


def rotated(x, cos, sin):
    """The rotary embedding; pairs are the halves of a head."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Model(nn.Module):
    def __init__(self, hidden, layers, vocab, sequence):
        super().__init__()
        self.embedding = nn.Embedding(vocab, hidden)
        self.blocks = nn.ModuleList(Block(hidden) for _ in range(layers))
        self.norm = nn.RMSNorm(hidden, eps=EPSILON)
        for weight in self.parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=0.02)
        head_dim = hidden // HEADS
        frequencies = ROPE_THETA ** (-torch.arange(0, head_dim, 2) / head_dim)
        angles = torch.outer(torch.arange(sequence), frequencies).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, ids):
        x = self.embedding(ids)
        cos, sin = self.cos.to(x.dtype), self.sin.to(x.dtype)
        for block in self.blocks:
            x = block(x, cos, sin)
        return F.linear(self.norm(x), self.embedding.weight)


def shape(text):
    try:
        hidden, layers = (int(number) for number in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected width and layers, as 512x1, not {text}") from None
    if hidden < 1 or layers < 1 or hidden % (2 * HEADS):
        raise argparse.ArgumentTypeError(f"{text}: the width must divide by {2 * HEADS}")
    return hidden, layers


def arguments():
    parser = argparse.ArgumentParser(description="Measures a distillation training step in PyTorch.")
    parser.add_argument("--student", type=shape, default=(512, 1), metavar="HxL")
    parser.add_argument("--teacher", type=shape, default=(768, 2), metavar="HxL")
    parser.add_argument("--vocab", type=int, default=6400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seq", type=int, default=512)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--temperature", type=float, default=1.5)
    parser.add_argument("--alpha", type=float, default=0.5)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--warmup", type=int, default=3)
    return parser.parse_args()


def main():
    args = arguments()
    torch.manual_seed(0)
    student = Model(*args.student, args.vocab, args.seq)
    teacher = Model(*args.teacher, args.vocab, args.seq).requires_grad_(False).eval()
    bf16 = args.precision == "bf16"
    if bf16:
        teacher.to(torch.bfloat16)
    ids = torch.randint(args.vocab, (args.batch, args.seq))
    # A position predicts the next token, so the last one of a sequence has nothing to predict.
    labels = torch.randint(args.vocab, (args.batch, args.seq - 1)).flatten()
    optimizer = torch.optim.AdamW(student.parameters(), lr=5e-4, weight_decay=0.01, fused=True)

    def loss_of(ids, labels):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            with torch.no_grad():
                taught = teacher(ids)[:, :-1].flatten(0, 1)
                target = F.softmax(taught / args.temperature, dim=-1)
            logits = student(ids)[:, :-1].flatten(0, 1)
            hard = F.cross_entropy(logits, labels)
            learned = F.log_softmax(logits / args.temperature, dim=-1)
            soft = F.kl_div(learned, target, reduction="batchmean") * args.temperature**2
            return args.alpha * hard + (1 - args.alpha) * soft

    measured = torch.compile(loss_of, dynamic=False) if args.compile else loss_of
    times = []
    step = 0
    while len(times) < LEAST_STEPS or sum(times) < args.seconds:
        step += 1
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = measured(ids, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        value = loss.item()
        if step > args.warmup:
            times.append(time.perf_counter() - start)
        if not math.isfinite(value):
            sys.exit(f"the loss is {value} at step {step}")

    tokens = args.batch * args.seq
    speeds = sorted(tokens / seconds for seconds in times)
    deciles = statistics.quantiles(speeds, n=10, method="inclusive")
    print(json.dumps({
        "torch": torch.__version__,
        "precision": args.precision,
        "compile": args.compile,
        "threads": torch.get_num_threads(),
        "parameters": {"student": count(student), "teacher": count(teacher)},
        "steps": len(times),
        "tokens_per_step": tokens,
        "tokens_per_second": {"p10": deciles[0], "median": statistics.median(speeds), "p90": deciles[-1]},
        "loss": value,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }))


def count(model):
    return sum(weight.numel() for weight in model.parameters())


if __name__ == "__main__":
    main()
