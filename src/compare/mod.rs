//! Pairing, statistics and verdicts of two experiments.
