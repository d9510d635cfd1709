//! Letters and lists: reversing, replacing, counting, sorting.

use super::exchange::{Exchange, enumerate};
use crate::spec::Random;

/// Letters, often repeated ones, between spaces: a small model sees each of them.
fn letters(random: &mut Random, count: i64) -> Vec<char> {
    const LETTERS: [char; 12] = ['a', 'b', 'd', 'e', 'k', 'l', 'm', 'n', 'o', 'r', 's', 't'];
    let known = random.choose_several(&LETTERS, 5);
    (0..count).map(|_| *random.pick(&known)).collect()
}

fn spaced(letters: &[char]) -> String {
    letters.iter().map(char::to_string).collect::<Vec<_>>().join(" ")
}

pub(super) fn reversal(random: &mut Random) -> Exchange {
    let count = random.between(3, 6);
    let mut letters = letters(random, count);
    let given = spaced(&letters);
    letters.reverse();
    let reversed = spaced(&letters);
    Exchange {
        question: random.choose_any([
            format!("Write {given} backwards."),
            format!("Reverse {given}."),
            format!("What is {given} from back to front?"),
        ]),
        answer: random.choose_wording([
            format!("{reversed}."),
            format!("It is {reversed}."),
            format!("Backwards it is {reversed}."),
        ]),
    }
}

pub(super) fn capitals(random: &mut Random) -> Exchange {
    let count = random.between(3, 6);
    let given = spaced(&letters(random, count));
    let result = given.to_uppercase();
    Exchange {
        question: random
            .choose_any([format!("Write {given} in capitals."), format!("Put {given} into upper case.")]),
        answer: random.choose_wording([
            format!("{result}."),
            format!("It is {result}."),
            format!("In capitals: {result}."),
        ]),
    }
}

pub(super) fn replacement(random: &mut Random) -> Exchange {
    const NEW: [char; 4] = ['x', 'y', 'z', 'w'];
    let count = random.between(3, 6);
    let letters = letters(random, count);
    let (old, new) = (*random.pick(&letters), *random.pick(&NEW));
    let given = spaced(&letters);
    let result = given.replace(old, &new.to_string());
    Exchange {
        question: random.choose_any([
            format!("In {given}, replace {old} by {new}."),
            format!("Change every {old} in {given} to {new}."),
        ]),
        answer: random.choose_wording([
            format!("{result}."),
            format!("It becomes {result}."),
            format!("The result is {result}."),
        ]),
    }
}

pub(super) fn letter_count(random: &mut Random) -> Exchange {
    let count = random.between(4, 8);
    let letters = letters(random, count);
    let letter = *random.pick(&letters);
    let given = spaced(&letters);
    let times = letters.iter().filter(|&&other| other == letter).count();
    let word = if times == 1 { "time" } else { "times" };
    Exchange {
        question: random.choose_any([
            format!("How often is {letter} in {given}?"),
            format!("Count the letter {letter} in {given}."),
        ]),
        answer: random.choose_wording([
            format!("{letter} is there {times} {word}."),
            format!("{times} {word}."),
            format!("I count {times}."),
        ]),
    }
}

pub(super) fn sorted_numbers(random: &mut Random) -> Exchange {
    let count = random.between(3, 5);
    let numbers: Vec<i64> = (0..count).map(|_| random.between(1, 99)).collect();
    let falling = random.below(3) == 0;
    let list = |numbers: &[i64]| numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    let given = list(&numbers);
    let mut sorted = numbers;
    sorted.sort_unstable();
    if falling {
        sorted.reverse();
    }
    let result = list(&sorted);
    let order = if falling { "from large to small" } else { "from small to large" };
    Exchange {
        question: random.choose_any([
            format!("Sort {given} {order}."),
            format!("Put these numbers in order {order}: {given}."),
        ]),
        answer: random.choose_wording([
            format!("{result}."),
            format!("The order is {result}."),
            format!("Sorted: {result}."),
        ]),
    }
}

pub(super) fn sorted_words(random: &mut Random) -> Exchange {
    const WORDS: [&str; 26] = [
        "apple", "bread", "cloud", "door", "egg", "fire", "garden", "house", "island", "juice", "kite",
        "lemon", "moon", "night", "ocean", "paper", "queen", "river", "stone", "tree", "uncle", "village",
        "water", "yard", "zebra", "bird",
    ];
    let count = random.between(3, 4) as usize;
    let mut words = random.choose_several(&WORDS, count);
    let given = words.join(", ");
    words.sort_unstable();
    let joined = words.join(", ");
    let spoken = enumerate(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
    Exchange {
        question: random.choose_any([
            format!("Sort {given} by the alphabet."),
            format!("Put {given} in alphabetical order."),
        ]),
        answer: random.choose_wording([
            format!("{joined}."),
            format!("In order: {joined}."),
            format!("First {spoken}.").replacen(", ", ", then ", 1),
        ]),
    }
}
