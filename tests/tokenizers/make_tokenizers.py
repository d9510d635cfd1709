"""Small tokenizers of the kinds that models have, and what `transformers` makes of conversations with them.

Writes, beside this file, a directory for each tokenizer and expected.json: the ids and the assistant's
mask of each conversation of ../templates under ../templates/generation.jinja, and the ids of some texts.

    pip install transformers tokenizers jinja2 && python make_tokenizers.py
"""
import json, pathlib
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

here = pathlib.Path(__file__).parent
conversations = json.loads((here.parent / "templates/conversations.json").read_text())
template = (here.parent / "templates/generation.jinja").read_text()
corpus = [turn["content"] for turns in conversations.values() for turn in turns] * 3 + ["user", "assistant", "system"]
texts = ["Which day follows Monday?", " two  spaces\n\nand lines ", "Häuschen — 家 🏠", ""]
special = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]


def post(tokenizer):
    return processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])


def metaspace():
    """Llama 2: spaces become a letter, unknown characters bytes."""
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    alphabet = sorted({c for c in "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,?'<>/\n"})
    bytes_ = [AddedToken(f"<0x{b:02X}>", normalized=False) for b in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special + bytes_, initial_alphabet=alphabet,
                                  limit_alphabet=len(alphabet), show_progress=False)
    t.train_from_iterator(corpus, trainer)
    # Trained with the bytes as added tokens; a real tokenizer has them in its vocabulary alone.
    data = json.loads(t.to_str())
    data["added_tokens"] = [a for a in data["added_tokens"] if not a["content"].startswith("<0x")]
    t = Tokenizer.from_str(json.dumps(data))
    t.post_processor = post(t)
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return t


def trimmed():
    """Llama 3, GPT-2: bytes as letters, offsets without the spaces, and a start token."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=special, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    t.train_from_iterator(corpus, trainer)
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), post(t)])
    t.decoder = decoders.ByteLevel()
    t.enable_truncation(7)
    t.enable_padding(length=50)
    return t


def unigram():
    """T5, Gemma: pieces with their likelihoods."""
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.NFKC()
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=special, unk_token="<unk>", show_progress=False)
    t.train_from_iterator(corpus, trainer)
    t.decoder = decoders.Metaspace()
    return t


expected = {}
for make in (metaspace, trimmed, unigram):
    name, directory = make.__name__, here / make.__name__
    directory.mkdir(exist_ok=True)
    make().save(str(directory / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": {"content": "<s>"}, "eos_token": "</s>",
                "pad_token": None, "clean_up_tokenization_spaces": False}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")
    (directory / "chat_template.jinja").write_text(template)
    raw = Tokenizer.from_file(str(directory / "tokenizer.json"))
    raw.no_truncation(); raw.no_padding()
    from transformers import PreTrainedTokenizerFast
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = template
    cases = {}
    for conversation, messages in conversations.items():
        found = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
        cases[conversation] = {"ids": found["input_ids"], "mask": found["assistant_masks"]}
    expected[name] = {"conversations": cases, "texts": [{"text": t, "ids": tokenizer(t).input_ids} for t in texts]}
(here / "expected.json").write_text(json.dumps(expected, ensure_ascii=False) + "\n")
