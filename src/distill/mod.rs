//! Losses, optimizer and schedule, the training loop, evaluation.
