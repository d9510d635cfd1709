//! Decoder-only transformer in the Llama layout, and its Hugging Face checkpoints.
