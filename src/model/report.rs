//! What of a checkpoint went into a model.

use serde::Serialize;

/// Names listed in a message before the rest is counted.
const NAMED: usize = 6;

/// What of a checkpoint went into a model: every tensor of either side is in exactly one list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LoadReport {
    /// Tensors of the model that the checkpoint gave.
    pub loaded: Vec<String>,
    /// Tensors of the model that the checkpoint does not have: started at random.
    pub missing: Vec<String>,
    /// Tensors of the checkpoint that the model does not have: not used.
    pub left_over: Vec<String>,
    /// Tensors of both whose shapes differ: started at random.
    pub mismatched: Vec<Mismatch>,
}

/// A tensor whose shape in the checkpoint is not the model's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// The tensor.
    pub tensor: String,
    /// Its shape in the checkpoint.
    pub found: Vec<usize>,
    /// Its shape in the model.
    pub expected: Vec<usize>,
}

impl LoadReport {
    /// Whether model and checkpoint have the same tensors of the same shapes.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.left_over.is_empty() && self.mismatched.is_empty()
    }

    /// What does not fit, as part of a sentence; long lists are cut.
    pub fn in_words(&self) -> String {
        let mismatched: Vec<String> = self
            .mismatched
            .iter()
            .map(|m| format!("{} is {:?}, expected {:?}", m.tensor, m.found, m.expected))
            .collect();
        let parts =
            [("missing", &self.missing), ("left over", &self.left_over), ("of another shape", &mismatched)];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{} {what} ({})", names.len(), list(names)))
            .collect();
        if parts.is_empty() {
            return format!("all {} tensors fit", self.loaded.len());
        }
        parts.join("; ")
    }
}

fn list(names: &[String]) -> String {
    let mut text = names[..names.len().min(NAMED)].join(", ");
    if names.len() > NAMED {
        text.push_str(&format!(" and {} more", names.len() - NAMED));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_what_does_not_fit_and_count_the_rest() {
        let report = LoadReport {
            loaded: vec!["a".into()],
            missing: (0..8).map(|n| format!("m{n}")).collect(),
            left_over: vec![],
            mismatched: vec![Mismatch { tensor: "b".into(), found: vec![2, 3], expected: vec![2, 4] }],
        };
        assert_eq!(
            report.in_words(),
            "8 missing (m0, m1, m2, m3, m4, m5 and 2 more); 1 of another shape (b is [2, 3], expected [2, 4])"
        );
        assert!(!report.is_complete());
        let all = LoadReport { loaded: vec!["a".into()], ..LoadReport::default() };
        assert!(all.is_complete());
        assert_eq!(all.in_words(), "all 1 tensors fit");
    }
}
