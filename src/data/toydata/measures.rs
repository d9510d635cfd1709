//! Units, clocks and calendars.

use super::exchange::Exchange;
use crate::spec::Random;

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// With the days of a year that is no leap year.
const MONTHS: [(&str, i64); 12] = [
    ("January", 31),
    ("February", 28),
    ("March", 31),
    ("April", 30),
    ("May", 31),
    ("June", 30),
    ("July", 31),
    ("August", 31),
    ("September", 30),
    ("October", 31),
    ("November", 30),
    ("December", 31),
];

pub(super) fn units(random: &mut Random) -> Exchange {
    /// The larger unit, the smaller one, how many of these make one of those.
    const UNITS: [(&str, &str, i64); 6] = [
        ("hours", "minutes", 60),
        ("weeks", "days", 7),
        ("years", "months", 12),
        ("metres", "centimetres", 100),
        ("kilograms", "grams", 1000),
        ("days", "hours", 24),
    ];
    let &(large, small, factor) = random.pick(&UNITS);
    let count = random.between(2, 25);
    let total = count * factor;
    match random.below(3) {
        0 => Exchange {
            question: random.choose_any([
                format!("How many {large} are {total} {small}?"),
                format!("Convert {total} {small} to {large}."),
            ]),
            answer: random.choose_wording([
                format!("{total} / {factor} = {count}, so {count} {large}."),
                format!("{total} {small} are {count} {large}."),
                format!("{count} {large}."),
            ]),
        },
        1 => Exchange {
            question: random.choose_any([
                format!("How many {small} are {count} {large}?"),
                format!("Convert {count} {large} to {small}."),
                format!("Give {count} {large} in {small}."),
            ]),
            answer: random.choose_wording([
                format!("{count} x {factor} = {total}, so {total} {small}."),
                format!("{count} {large} are {total} {small}."),
                format!("{total} {small}."),
            ]),
        },
        _ => {
            let rest = random.between(2, factor.min(50) - 1);
            let sum = total + rest;
            Exchange {
                question: random.choose_any([
                    format!("How many {small} are {count} {large} and {rest} {small}?"),
                    format!("Give {count} {large} and {rest} {small} in {small}."),
                ]),
                answer: random.choose_wording([
                    format!("{total} + {rest} = {sum}, so {sum} {small}."),
                    format!("{sum} {small}."),
                ]),
            }
        }
    }
}

pub(super) fn weekday(random: &mut Random) -> Exchange {
    let (index, count) = (random.below(7) as i64, random.between(2, 60));
    let later = random.below(3) > 0;
    let (word, offset) = if later { ("after", count) } else { ("before", -count) };
    let (day, result) = (DAYS[index as usize], DAYS[(index + offset).rem_euclid(7) as usize]);
    let (weeks, rest) = (count / 7, count % 7);
    let plural = |count: i64, unit: &str| format!("{count} {unit}{}", if count == 1 { "" } else { "s" });
    let why = match (weeks, rest) {
        (0, _) => format!("{count} days {word} {day} is {result}."),
        (_, 0) => format!("{count} days are whole weeks, so it is {result}."),
        _ => format!(
            "{count} days are {} and {}, so it is {result}.",
            plural(weeks, "week"),
            plural(rest, "day")
        ),
    };
    Exchange {
        question: random.choose_any([
            format!("Which day is {count} days {word} {day}?"),
            format!("What day of the week is {count} days {word} {day}?"),
        ]),
        answer: random.choose_wording([why, format!("It is {result}."), format!("{result}.")]),
    }
}

pub(super) fn month(random: &mut Random) -> Exchange {
    let (index, count) = (random.below(12) as i64, random.between(2, 30));
    let later = random.below(3) > 0;
    let (word, offset) = if later { ("after", count) } else { ("before", -count) };
    let (month, result) = (MONTHS[index as usize].0, MONTHS[(index + offset).rem_euclid(12) as usize].0);
    Exchange {
        question: random.choose_any([
            format!("Which month is {count} months {word} {month}?"),
            format!(
                "It is {month}. Which month is it {count} months {}?",
                if later { "later" } else { "earlier" }
            ),
        ]),
        answer: random.choose_wording([
            format!("It is {result}."),
            format!("{count} months {word} {month} is {result}."),
            format!("{result}."),
        ]),
    }
}

pub(super) fn clock(random: &mut Random) -> Exchange {
    let start = random.between(0, 24 * 12 - 1) * 5;
    let minutes = random.between(1, 30) * 5;
    let later = random.below(3) > 0;
    let end = (start + if later { minutes } else { -minutes }).rem_euclid(24 * 60);
    let time = |minutes: i64| format!("{}:{:02}", minutes / 60, minutes % 60);
    let (start, end) = (time(start), time(end));
    let question = if later {
        random.choose_any([
            format!("It is {start}. What time is it in {minutes} minutes?"),
            format!("What time is {minutes} minutes after {start}?"),
        ])
    } else {
        random.choose_any([
            format!("It is {start}. What time was it {minutes} minutes ago?"),
            format!("What time is {minutes} minutes before {start}?"),
        ])
    };
    let verb = if later || !question.contains("was") { "is" } else { "was" };
    Exchange {
        answer: random.choose_wording([
            format!("It {verb} {end}."),
            format!("{end}."),
            format!("The clock shows {end}."),
        ]),
        question,
    }
}

pub(super) fn date(random: &mut Random) -> Exchange {
    let index = random.below(12) as usize;
    let (month, length) = MONTHS[index];
    let (day, count) = (random.between(1, length), random.between(2, 25));
    let beyond = day + count > length;
    let next = MONTHS[(index + 1) % 12].0;
    let result =
        if beyond { format!("{} {next}", day + count - length) } else { format!("{} {month}", day + count) };
    let why = if beyond {
        format!("{month} has {length} days, so it is {result}.")
    } else {
        format!("{day} + {count} = {}, so it is {result}.", day + count)
    };
    Exchange {
        question: random.choose_any([
            format!("What date is {count} days after {day} {month}?"),
            format!("It is {day} {month}. What is the date in {count} days?"),
        ]),
        answer: random.choose_wording([why, format!("It is {result}."), format!("{result}.")]),
    }
}
