//! Fused operations behind one trait, each with a plain-tensor reference.
