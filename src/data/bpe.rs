//! Learning the merges of a byte-pair encoding (Sennrich et al., arXiv 1508.07909).
//!
//! The same words give the same merges, in the same order: ties between equally frequent pairs go
//! to the pair of the older tokens, and nothing depends on the order of a hash table.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

/// Two tokens that stand side by side, by their ids.
type Pair = (u32, u32);

/// What was learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bpe {
    /// Tokens by id: the alphabet, then one for each merge that made a new one.
    pub(super) tokens: Vec<String>,
    /// Tokens that become one, in the order in which they are applied.
    pub(super) merges: Vec<(String, String)>,
}

/// Learns merges until there are `vocab_size` tokens, or no pair stands twice in the words.
///
/// `words` are counted; each of their characters must be in `alphabet`, and others are left out.
pub(super) fn learn(words: &BTreeMap<String, u64>, alphabet: &[char], vocab_size: usize) -> Bpe {
    let mut learner = Learner::new(words, alphabet);
    while learner.bpe.tokens.len() < vocab_size {
        let Some(pair) = learner.most_frequent() else { break };
        learner.merge(pair);
    }
    learner.bpe
}

struct Learner {
    bpe: Bpe,
    ids: HashMap<String, u32>,
    /// The tokens of each different word, and how often it stands in the text.
    words: Vec<(Vec<u32>, u64)>,
    counts: HashMap<Pair, u64>,
    /// Words in which a pair stands, or stood.
    places: HashMap<Pair, BTreeSet<usize>>,
    /// Counts as they were when they last rose; those that fell since are corrected when met.
    queue: BinaryHeap<(u64, Reverse<Pair>)>,
}

impl Learner {
    fn new(words: &BTreeMap<String, u64>, alphabet: &[char]) -> Self {
        let tokens: Vec<String> = alphabet.iter().map(char::to_string).collect();
        let ids: HashMap<String, u32> = (0..).zip(&tokens).map(|(id, token)| (token.clone(), id)).collect();
        let symbols: HashMap<char, u32> = (0..).zip(alphabet).map(|(id, &c)| (c, id)).collect();
        let words: Vec<(Vec<u32>, u64)> = words
            .iter()
            .map(|(word, &count)| (word.chars().filter_map(|c| symbols.get(&c).copied()).collect(), count))
            .collect();
        let mut learner = Self {
            bpe: Bpe { tokens, merges: Vec::new() },
            ids,
            words,
            counts: HashMap::new(),
            places: HashMap::new(),
            queue: BinaryHeap::new(),
        };
        for (index, (word, count)) in learner.words.iter().enumerate() {
            for pair in pairs(word) {
                *learner.counts.entry(pair).or_default() += count;
                learner.places.entry(pair).or_default().insert(index);
            }
        }
        learner.queue = learner.counts.iter().map(|(&pair, &count)| (count, Reverse(pair))).collect();
        learner
    }

    /// The pair to merge next: the most frequent one, of these the one with the smallest ids.
    fn most_frequent(&mut self) -> Option<Pair> {
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            let now = self.counts.get(&pair).copied().unwrap_or(0);
            if now == count && now > 1 {
                return Some(pair);
            }
            if now < count && now > 1 {
                self.queue.push((now, Reverse(pair)));
            }
        }
        None
    }

    fn merge(&mut self, pair: Pair) {
        let (left, right) =
            (self.bpe.tokens[pair.0 as usize].clone(), self.bpe.tokens[pair.1 as usize].clone());
        let token = format!("{left}{right}");
        // Another merge may have made the same token of other parts.
        let id = *self.ids.entry(token.clone()).or_insert_with(|| {
            self.bpe.tokens.push(token);
            self.bpe.tokens.len() as u32 - 1
        });
        self.bpe.merges.push((left, right));

        let mut risen = BTreeSet::new();
        for index in self.places.remove(&pair).unwrap_or_default() {
            let (word, count) = &mut self.words[index];
            for old in pairs(word) {
                if let Some(total) = self.counts.get_mut(&old) {
                    *total -= *count;
                }
            }
            join(word, pair, id);
            for new in pairs(word) {
                *self.counts.entry(new).or_default() += *count;
                if new.0 == id || new.1 == id {
                    self.places.entry(new).or_default().insert(index);
                    risen.insert(new);
                }
            }
        }
        self.queue.extend(risen.into_iter().map(|pair| (self.counts[&pair], Reverse(pair))));
    }
}

fn pairs(word: &[u32]) -> impl Iterator<Item = Pair> {
    word.windows(2).map(|window| (window[0], window[1]))
}

/// Replaces each occurrence of a pair, from the left, by one token.
fn join(word: &mut Vec<u32>, pair: Pair, id: u32) {
    let mut kept = 0;
    let mut next = 0;
    while next < word.len() {
        if next + 1 < word.len() && (word[next], word[next + 1]) == pair {
            word[kept] = id;
            next += 2;
        } else {
            word[kept] = word[next];
            next += 1;
        }
        kept += 1;
    }
    word.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> BTreeMap<String, u64> {
        let mut words = BTreeMap::new();
        text.split_whitespace().for_each(|word| *words.entry(word.to_owned()).or_default() += 1);
        words
    }

    fn learned(text: &str, vocab_size: usize) -> Vec<String> {
        let alphabet: Vec<char> = ('a'..='z').collect();
        let bpe = learn(&words(text), &alphabet, vocab_size);
        bpe.merges.into_iter().map(|(left, right)| format!("{left}+{right}")).collect()
    }

    #[test]
    fn the_most_frequent_pair_is_merged_first() {
        // By hand: "lo" and "ow" stand five times, and l comes before o; then "lo"+"w", five times;
        // "e"+"r" three times, as "low"+"e", but e is older; "e"+"w", "n"+"e", "low"+"er" twice.
        let text = "low low lower lowest lower newer new";
        assert_eq!(learned(text, 30), ["l+o", "lo+w", "e+r", "e+w"]);
    }

    #[test]
    fn ties_go_to_the_older_tokens_and_pairs_that_stand_once_are_left() {
        assert_eq!(learned("ba ba ab ab xy", 100), ["a+b", "b+a"]);
        assert_eq!(learned("aaaa aaaa", 100), ["a+a", "aa+aa"]);
        assert!(learned("", 100).is_empty());
    }

    #[test]
    fn merges_agree_with_the_trainer_of_the_tokenizers_library() {
        use tokenizers::models::bpe::{BPE, BpeTrainer};
        use tokenizers::{Model, Trainer};
        let text = "the cat sat on the mat and the rat sat on the cat then that hat \
                    betty bought some better butter but the butter was bitter";
        let mut trainer = BpeTrainer::builder().vocab_size(60).min_frequency(2).show_progress(false).build();
        let split = |text: &str| Ok(text.split_whitespace().map(str::to_owned).collect());
        trainer.feed(std::iter::once(text), split).unwrap();
        let mut model = BPE::default();
        trainer.train(&mut model).unwrap();
        let mut theirs: Vec<(u32, String)> = model.get_vocab().into_iter().map(|(t, id)| (id, t)).collect();
        theirs.sort();

        let mut alphabet: Vec<char> = text.chars().filter(|c| c.is_alphabetic()).collect();
        alphabet.sort_unstable();
        alphabet.dedup();
        let ours = learn(&words(text), &alphabet, 60);
        assert_eq!(ours.tokens, theirs.into_iter().map(|(_, token)| token).collect::<Vec<_>>());
        assert!(ours.merges.len() > 10, "{:?}", ours.merges);
    }
}
