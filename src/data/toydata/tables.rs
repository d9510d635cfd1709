//! Questions about tables: given in the question, or learned by heart.

use super::exchange::{Exchange, capitalize, enumerate};
use crate::spec::Random;

const NAMES: [&str; 10] = ["Ann", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana", "Ivo", "Jo"];
const THINGS: [&str; 8] = ["pens", "books", "cups", "coins", "hats", "balls", "keys", "maps"];

pub(super) fn given_table(random: &mut Random) -> Exchange {
    let names = random.choose_several(&NAMES, 3);
    let thing = *random.pick(&THINGS);
    let mut counts: Vec<i64> = random.choose_several(&(2..20).collect::<Vec<i64>>(), 3);
    random.shuffle(&mut counts);
    let rows: Vec<(&str, i64)> = names.into_iter().zip(counts).collect();
    let stated: Vec<String> = rows
        .iter()
        .enumerate()
        .map(|(index, (name, count))| match index {
            0 => format!("{name} has {count} {thing}"),
            _ => format!("{name} {count}"),
        })
        .collect();
    let stated = enumerate(&stated);
    match random.below(3) {
        0 => {
            let most = random.below(2) == 0;
            let word = if most { "most" } else { "fewest" };
            let chosen = if most { rows.iter().max_by_key(|r| r.1) } else { rows.iter().min_by_key(|r| r.1) };
            let (name, count) = chosen.copied().unwrap_or_default();
            Exchange {
                question: format!("{stated}. Who has the {word}?"),
                answer: random.choose_wording([
                    format!("{name} has the {word}, with {count}."),
                    format!("{name} has the {word}."),
                    format!("{name}."),
                ]),
            }
        }
        1 => {
            let [(_, a), (_, b), (_, c)] = [rows[0], rows[1], rows[2]];
            let sum = a + b + c;
            Exchange {
                question: random.choose_any([
                    format!("{stated}. How many {thing} are there?"),
                    format!("{stated}. How many do they have together?"),
                ]),
                answer: random.choose_wording([
                    format!("{a} + {b} + {c} = {sum}."),
                    format!("Together they have {sum} {thing}."),
                    format!("{sum} {thing}."),
                ]),
            }
        }
        _ => {
            let pair = random.choose_several(&rows, 2);
            let (more, less) = if pair[0].1 > pair[1].1 { (pair[0], pair[1]) } else { (pair[1], pair[0]) };
            let difference = more.1 - less.1;
            Exchange {
                question: format!("{stated}. How many more has {} than {}?", more.0, less.0),
                answer: random.choose_wording([
                    format!("{} - {} = {difference}.", more.1, less.1),
                    format!("{} has {difference} more.", more.0),
                    format!("{difference} {thing}."),
                ]),
            }
        }
    }
}

pub(super) fn price_list(random: &mut Random) -> Exchange {
    const FRUITS: [&str; 6] = ["apple", "pear", "plum", "peach", "lemon", "fig"];
    let fruits = random.choose_several(&FRUITS, 2);
    let (first, second) = (fruits[0], fruits[1]);
    let prices = random.choose_several(&(2..10).collect::<Vec<i64>>(), 2);
    let (a, b) = (random.between(2, 6), random.between(2, 6));
    let many = |fruit: &str| if fruit.ends_with("ch") { format!("{fruit}es") } else { format!("{fruit}s") };
    let one = |fruit: &str| if fruit == "apple" { format!("an {fruit}") } else { format!("a {fruit}") };
    let (first_cost, second_cost) = (a * prices[0], b * prices[1]);
    let sum = first_cost + second_cost;
    Exchange {
        question: format!(
            "{} costs {}, {} {}. What do {a} {} and {b} {} cost?",
            capitalize(&one(first)),
            prices[0],
            one(second),
            prices[1],
            many(first),
            many(second)
        ),
        answer: random.choose_wording([
            format!("{first_cost} + {second_cost} = {sum}."),
            format!("They cost {sum}."),
            format!("{sum} coins."),
        ]),
    }
}

/// A town of an invented country.
struct Town {
    name: &'static str,
    river: &'static str,
    crop: &'static str,
    colour: &'static str,
    founded: i64,
}

const fn town(
    name: &'static str,
    river: &'static str,
    crop: &'static str,
    colour: &'static str,
    founded: i64,
) -> Town {
    Town { name, river, crop, colour, founded }
}

const TOWNS: [Town; 16] = [
    town("Almar", "Ister", "wheat", "red", 1204),
    town("Brenn", "Koval", "barley", "blue", 1377),
    town("Corda", "Ister", "olives", "green", 982),
    town("Dorvik", "Sund", "oats", "white", 1590),
    town("Elsin", "Koval", "grapes", "yellow", 1133),
    town("Farrow", "Teme", "wheat", "blue", 1412),
    town("Gorst", "Sund", "rye", "black", 1068),
    town("Halden", "Teme", "apples", "red", 1645),
    town("Ilmen", "Ister", "flax", "white", 1251),
    town("Jorun", "Koval", "rye", "green", 1509),
    town("Kesta", "Teme", "grapes", "black", 874),
    town("Lomir", "Sund", "barley", "yellow", 1718),
    town("Morva", "Ister", "apples", "blue", 1340),
    town("Nolde", "Koval", "flax", "red", 1026),
    town("Oster", "Teme", "olives", "white", 1467),
    town("Pirn", "Sund", "oats", "green", 1183),
];

pub(super) fn atlas(random: &mut Random) -> Exchange {
    let town = random.pick(&TOWNS);
    let name = town.name;
    match random.below(8) {
        0 => Exchange {
            question: random.choose_any([
                format!("Which river runs through {name}?"),
                format!("On which river is {name}?"),
                format!("What is the river of {name}?"),
                format!("{name} is on which river?"),
            ]),
            answer: random.choose_wording([
                format!("{name} is on the {}.", town.river),
                format!("The {}.", town.river),
            ]),
        },
        1 => Exchange {
            question: random.choose_any([
                format!("What grows around {name}?"),
                format!("What do the farmers of {name} grow?"),
                format!("Which crop is {name} known for?"),
                format!("What is the crop of {name}?"),
            ]),
            answer: random.choose_wording([
                format!("{name} grows {}.", town.crop),
                format!("They grow {}.", town.crop),
            ]),
        },
        2 => Exchange {
            question: random.choose_any([
                format!("What colour is the flag of {name}?"),
                format!("Which colour has the flag of {name}?"),
                format!("{name} has a flag of which colour?"),
            ]),
            answer: random
                .choose_wording([format!("The flag is {}.", town.colour), format!("It is {}.", town.colour)]),
        },
        3 => Exchange {
            question: random.choose_any([
                format!("When was {name} founded?"),
                format!("In which year was {name} founded?"),
                format!("What is the founding year of {name}?"),
            ]),
            answer: random.choose_wording([
                format!("{name} was founded in {}.", town.founded),
                format!("In {}.", town.founded),
            ]),
        },
        _ => {
            let others: Vec<&Town> = TOWNS.iter().filter(|other| other.name != name).collect();
            let other = *random.pick(&others);
            let older_asked = random.below(2) == 0;
            let word = if older_asked { "older" } else { "younger" };
            let chosen = if older_asked == (town.founded < other.founded) { town } else { other };
            Exchange {
                question: random.choose_any([
                    format!("Which town is {word}, {name} or {}?", other.name),
                    format!("Is {name} or {} {word}?", other.name),
                ]),
                answer: random.choose_wording([
                    format!("{} is {word}, from {}.", chosen.name, chosen.founded),
                    format!("{} is {word}.", chosen.name),
                    format!("{}.", chosen.name),
                ]),
            }
        }
    }
}
