//! A question with its answer, and how wordings are chosen and put together.

use crate::spec::Random;

/// A question and one wording of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exchange {
    pub question: String,
    pub answer: String,
}

impl Random {
    /// One of several wordings that mean the same: each half as likely as the one before.
    pub(super) fn choose_wording<const N: usize>(&mut self, wordings: [String; N]) -> String {
        let mut ticket = self.below((1 << N) - 1);
        let mut weight = 1 << N.saturating_sub(1);
        for wording in wordings {
            if ticket < weight {
                return wording;
            }
            ticket -= weight;
            weight /= 2;
        }
        String::new()
    }

    /// One of several wordings, all as likely.
    pub(super) fn choose_any<const N: usize>(&mut self, wordings: [String; N]) -> String {
        self.pick(&wordings).clone()
    }

    /// `count` different items.
    pub(super) fn choose_several<T: Clone>(&mut self, items: &[T], count: usize) -> Vec<T> {
        let mut items = items.to_vec();
        self.shuffle(&mut items);
        items.truncate(count);
        items
    }
}

/// "1, 2 and 3".
pub(super) fn enumerate(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// With a capital first letter.
pub(super) fn capitalize(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}
