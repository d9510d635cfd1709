//! Tokenizer, chat template, JSONL records, packing and masks, batches.
