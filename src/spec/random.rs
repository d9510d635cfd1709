//! Random draws that depend on a seed and a purpose alone, not on a library's version.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A stream of random numbers. The key of the cipher is a hash of purpose and seed, so streams of
/// different purposes have nothing in common; drawing and shuffling are written out here, so that
/// the numbers stay the same when a dependency changes its methods.
#[derive(Debug, Clone)]
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    /// The stream of `purpose` (a constant, globally unique text) and `seed`.
    pub(crate) fn new(purpose: &'static str, seed: &[u64]) -> Self {
        let bytes: Vec<u8> = seed.iter().flat_map(|part| part.to_le_bytes()).collect();
        Self(ChaCha8Rng::from_seed(blake3::derive_key(purpose, &bytes)))
    }

    /// How many 32-bit words were drawn: where the stream stands.
    pub(crate) fn count_drawn(&self) -> u64 {
        // Counted in more bits than can ever be drawn.
        self.0.get_word_pos() as u64
    }

    /// Goes to where the stream stands once so many words were drawn.
    pub(crate) fn skip_to(&mut self, drawn: u64) {
        self.0.set_word_pos(drawn.into());
    }

    /// A number in `0..bound`, all equally likely; 0 for a bound of 0.
    ///
    /// Multiply and reject (Lemire, arXiv 1805.10941).
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        loop {
            let product = u128::from(self.0.next_u64()) * u128::from(bound);
            let low = product as u64;
            // Low parts under `2^64 mod bound` would make some results likelier than others.
            if low >= bound || low >= bound.wrapping_neg().checked_rem(bound).unwrap_or(0) {
                return (product >> 64) as u64;
            }
        }
    }

    /// A number in `low..=high`.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(1) as u64) as i64
    }

    /// A number from 0 on and below 1, all multiples of 2⁻⁵³ equally likely.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// One of `items`, which must not be empty.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// Puts `items` into a random order (Fisher–Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_seed_and_purpose() {
        let draw = |purpose, seed: &[u64]| {
            let mut random = Random::new(purpose, seed);
            (0..8).map(|_| random.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(draw("a", &[1, 2]), draw("a", &[1, 2]));
        assert_ne!(draw("a", &[1, 2]), draw("a", &[2, 1]));
        assert_ne!(draw("a", &[1, 2]), draw("b", &[1, 2]));
    }

    #[test]
    fn a_stream_goes_on_from_where_it_stood() {
        for drawn in 0..40 {
            let mut random = Random::new("goes on", &[5]);
            for _ in 0..drawn {
                random.unit();
            }
            let mut other = Random::new("goes on", &[5]);
            other.skip_to(random.count_drawn());
            for _ in 0..40 {
                assert_eq!(other.unit(), random.unit(), "{drawn}");
            }
        }
    }

    #[test]
    fn draws_are_even_and_within_the_bound() {
        let mut random = Random::new("even", &[3]);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[random.below(7) as usize] += 1;
        }
        // Five standard deviations of a binomial with n = 70,000 and p = 1/7 are 463.
        assert!(counts.iter().all(|&c| c.abs_diff(10_000) < 463), "{counts:?}");
        assert!((0..1000).all(|_| (-2..=3).contains(&random.between(-2, 3))));
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
        let mean =
            (0..10_000).map(|_| random.unit()).inspect(|u| assert!((0.0..1.0).contains(u))).sum::<f64>()
                / 1e4;
        // Five standard deviations of the mean are 0.0144.
        assert!((mean - 0.5).abs() < 0.0144, "{mean}");
    }

    #[test]
    fn shuffling_reaches_every_order() {
        let mut random = Random::new("orders", &[0]);
        let orders: std::collections::HashSet<[u8; 4]> = (0..2000)
            .map(|_| {
                let mut items = [0, 1, 2, 3];
                random.shuffle(&mut items);
                items
            })
            .collect();
        assert_eq!(orders.len(), 24);
    }
}
