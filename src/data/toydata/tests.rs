use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use super::*;
use crate::data::{ChatTokenizer, Record, parse};

fn committed(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("toydata").join(name)
}

fn small(seed: u64) -> ToyData {
    toy_data(&ToyOptions { train: 300, validation: 50, vocab_size: 300, seed }).unwrap()
}

fn exchanges(text: &str) -> Vec<(String, String)> {
    text.lines()
        .map(|line| match parse(line.as_bytes(), None).unwrap().0 {
            Record::Chat(messages) => (messages[0].content.clone(), messages[1].content.clone()),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn the_committed_files_are_what_the_generator_makes() {
    let made = toy_data(&ToyOptions::default()).unwrap();
    for (name, text) in [
        ("train.jsonl", &made.train),
        ("validation.jsonl", &made.validation),
        ("tokenizer/tokenizer.json", &made.tokenizer.tokenizer),
        ("tokenizer/tokenizer_config.json", &made.tokenizer.config),
    ] {
        // No assert_eq: it would print both files.
        assert!(fs::read_to_string(committed(name)).unwrap() == *text, "`kdx toydata` makes another {name}");
        assert!(text.len() < 2_000_000, "{name} is too large");
    }
    let readme = fs::read_to_string(committed("README.md")).unwrap();
    for kind in &made.kinds {
        let row = format!("| {} | {} | {} |", kind.name, kind.train, kind.validation);
        assert!(readme.contains(&row), "toydata/README.md lacks the row {row}");
    }
}

#[test]
fn conversations_are_short_and_their_mask_is_the_answer() {
    let tokenizer = ChatTokenizer::load(&committed("tokenizer")).unwrap();
    let text = fs::read_to_string(committed("train.jsonl")).unwrap();
    let mut tokens = 0;
    for line in text.lines() {
        let (record, _) = parse(line.as_bytes(), None).unwrap();
        let Record::Chat(messages) = &record else { panic!("{record:?}") };
        let answer = messages[1].content.clone();
        let encoded = tokenizer.encode(record).unwrap();
        let counted: Vec<u32> =
            encoded.labels.iter().filter_map(|&label| u32::try_from(label).ok()).collect();
        assert_eq!(tokenizer.decode(&counted).unwrap(), format!("{answer}<|im_end|>"));
        assert!(encoded.input_ids.len() <= 96, "{line}");
        tokens += encoded.input_ids.len();
    }
    let mean = tokens as f64 / text.lines().count() as f64;
    assert!(mean <= 42.0, "{mean}");
}

#[test]
fn no_question_comes_twice_and_none_held_out_is_in_training() {
    let made = toy_data(&ToyOptions::default()).unwrap();
    let train: BTreeSet<String> = exchanges(&made.train).into_iter().map(|(q, _)| q).collect();
    let validation: BTreeSet<String> = exchanges(&made.validation).into_iter().map(|(q, _)| q).collect();
    assert_eq!(train.len(), ToyOptions::default().train);
    assert_eq!(validation.len(), ToyOptions::default().validation);
    assert!(train.is_disjoint(&validation));
    assert!(made.kinds.iter().all(|kind| kind.train >= 100 && kind.validation >= 5), "{:?}", made.kinds);
}

#[test]
fn the_seed_decides_everything() {
    assert_eq!(small(7), small(7));
    assert_ne!(small(7).train, small(8).train);
}

#[test]
fn more_questions_than_there_are_is_an_error() {
    let options = ToyOptions { train: LARGEST, validation: 1, vocab_size: 300, seed: 0 };
    let error = toy_data(&options).unwrap_err().to_string();
    assert!(error.contains("found 50001 conversations, expected at most 50000"), "{error}");
    assert_eq!(draw(LARGEST, 0).unwrap().len(), LARGEST);
}

/// All sums, differences and products that a text states, as (left, sign, right, result).
fn equations(text: &str) -> Vec<(Vec<i64>, char, i64)> {
    let cleaned = text.replace([',', '.'], " ");
    let words: Vec<&str> = cleaned.split_whitespace().collect();
    let mut found = Vec::new();
    for (index, _) in words.iter().enumerate().filter(|(_, word)| **word == "=") {
        let mut operands = vec![words[index - 1].parse().unwrap()];
        let mut sign = ' ';
        let mut at = index - 1;
        while at >= 2 && ["+", "-", "x", "/"].contains(&words[at - 1]) {
            sign = words[at - 1].chars().next().unwrap();
            operands.insert(0, words[at - 2].parse().unwrap());
            at -= 2;
        }
        found.push((operands, sign, words[index + 1].parse().unwrap()));
    }
    found
}

#[test]
fn every_equation_in_an_answer_is_true() {
    let made = toy_data(&ToyOptions::default()).unwrap();
    let mut checked = 0;
    for (question, answer) in exchanges(&made.train) {
        for (operands, sign, result) in equations(&answer) {
            let fold = |with: fn(i64, i64) -> i64| operands.iter().copied().reduce(with).unwrap();
            let value = match sign {
                '+' => fold(|a, b| a + b),
                '-' => fold(|a, b| a - b),
                'x' => fold(|a, b| a * b),
                '/' => fold(|a, b| a / b),
                _ => panic!("{answer}"),
            };
            assert_eq!(value, result, "{question} {answer}");
            checked += 1;
        }
    }
    assert!(checked > 1500, "{checked}");
}

/// The number at the end of an answer, as "…, so 12 coins." or "12.".
fn last_number(text: &str) -> Option<i64> {
    text.split(|c: char| !c.is_ascii_digit()).rfind(|part| !part.is_empty())?.parse().ok()
}

fn numbers_of(text: &str) -> Vec<i64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// Answers of a kind against a second way to compute them, from the text of the question.
fn check(make: fn(&mut Random) -> Exchange, right: fn(&str, &str) -> bool) {
    let mut random = Random::new("kdx 2025 test of the toy data", &[0]);
    for _ in 0..500 {
        let Exchange { question, answer } = make(&mut random);
        assert!(right(&question, &answer), "{question} {answer}");
    }
}

#[test]
fn sums_and_differences_in_words_are_right() {
    let number = |text: &str| -> Vec<i64> {
        let values: BTreeMap<String, i64> = (0..200).map(|n| (numbers::in_words(n), n)).collect();
        let words: Vec<String> =
            text.to_lowercase().replace(['.', '?', ','], "").split(' ').map(str::to_owned).collect();
        let mut found = Vec::new();
        let mut at = 0;
        while at < words.len() {
            // The longest run of words that is a number: "one hundred and two" is one.
            let run = (1..=4)
                .rev()
                .find(|n| at + n <= words.len() && values.contains_key(&words[at..at + n].join(" ")));
            if let Some(n) = run {
                found.push(values[&words[at..at + n].join(" ")]);
            }
            at += run.unwrap_or(1);
        }
        found
    };
    let mut random = Random::new("kdx 2025 test of the toy data", &[1]);
    for _ in 0..500 {
        let Exchange { question, answer } = numbers::sum_in_words(&mut random);
        let [a, b] = number(&question)[..] else { panic!("{question}") };
        assert_eq!(number(&answer).last(), Some(&(a + b)), "{question} {answer}");
        let Exchange { question, answer } = numbers::difference_in_words(&mut random);
        let [a, b] = number(&question)[..] else { panic!("{question}") };
        assert_eq!(number(&answer).last(), Some(&(a - b).abs()), "{question} {answer}");
    }
}

#[test]
fn computed_answers_agree_with_a_second_way_to_compute_them() {
    check(numbers::product_and_sum, |question, answer| {
        let n = numbers_of(question);
        last_number(answer) == Some(n[0] * n[1] + n[2])
    });
    check(numbers::comparison, |question, answer| {
        let n = numbers_of(question);
        let right = if question.contains("larger") { n[0].max(n[1]) } else { n[0].min(n[1]) };
        numbers_of(answer)[0] == right && n[0] != n[1]
    });
    check(numbers::parity, |question, answer| {
        let even = numbers_of(question)[0] % 2 == 0;
        answer.to_lowercase().contains(if even { "even" } else { "odd" })
    });
    check(numbers::change, |question, answer| {
        let n = numbers_of(question);
        last_number(answer) == Some((n[0] - n[1]).abs())
    });
    check(numbers::sequence, |question, answer| {
        let n = numbers_of(question);
        numbers_of(answer).contains(&(n[3] + n[3] - n[2])) && n[1] - n[0] == n[3] - n[2]
    });
    check(text::letter_count, |question, answer| {
        let letters: Vec<&str> =
            question.trim_end_matches(['.', '?']).split(' ').filter(|word| word.len() == 1).collect();
        let times = letters[1..].iter().filter(|letter| **letter == letters[0]).count();
        last_number(answer) == Some(times as i64)
    });
    check(text::sorted_numbers, |question, answer| {
        let (mut asked, told) = (numbers_of(question), numbers_of(answer));
        asked.sort_unstable();
        if question.contains("from large") {
            asked.reverse();
        }
        asked == told
    });
}

#[test]
fn calendar_and_clock_answers_agree_with_a_count_of_days_and_minutes() {
    check(measures::clock, |question, answer| {
        let n = numbers_of(question);
        let (start, minutes) =
            if question.starts_with("It is") { (n[0] * 60 + n[1], n[2]) } else { (n[1] * 60 + n[2], n[0]) };
        let back = question.contains("ago") || question.contains("before");
        let end = (start + 24 * 60 + if back { -minutes } else { minutes }) % (24 * 60);
        numbers_of(answer) == [end / 60, end % 60]
    });
    check(measures::weekday, |question, answer| {
        const DAYS: [&str; 7] =
            ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
        let mut day = DAYS.iter().position(|day| question.contains(day)).unwrap();
        for _ in 0..numbers_of(question)[0] {
            day = if question.contains("after") { (day + 1) % 7 } else { (day + 6) % 7 };
        }
        answer.ends_with(&format!("{}.", DAYS[day]))
    });
    check(measures::date, |question, answer| {
        let days = |name: &str| match name {
            "February" => 28,
            "April" | "June" | "September" | "November" => 30,
            _ => 31,
        };
        let n = numbers_of(question);
        let (day, count) = if question.starts_with("It is") { (n[0], n[1]) } else { (n[1], n[0]) };
        let month = question
            .split([' ', '?', '.'])
            .find(|word| {
                word.len() > 2
                    && word.ends_with(['y', 'h', 'l', 'e', 't', 'r'])
                    && word.starts_with(char::is_uppercase)
                    && !["What"].contains(word)
            })
            .unwrap();
        let right = if day + count > days(month) { day + count - days(month) } else { day + count };
        last_number(answer) == Some(right)
    });
}
