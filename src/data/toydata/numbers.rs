//! Arithmetic, sequences and comparisons.

use super::exchange::{Exchange, capitalize};
use crate::spec::Random;

/// The English words of a number below 200.
pub(super) fn in_words(number: i64) -> String {
    const SMALL: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 10] =
        ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    let (tens, ones) = ((number / 10) as usize, (number % 10) as usize);
    match number {
        0..20 => SMALL[number as usize].to_owned(),
        20..100 if ones == 0 => TENS[tens].to_owned(),
        20..100 => format!("{}-{}", TENS[tens], SMALL[ones]),
        100 => "one hundred".to_owned(),
        _ => format!("one hundred and {}", in_words(number - 100)),
    }
}

pub(super) fn sum_in_words(random: &mut Random) -> Exchange {
    let (a, b) = (random.between(2, 60), random.between(2, 60));
    let (left, right, sum) = (in_words(a), in_words(b), in_words(a + b));
    Exchange {
        question: random.choose_any([
            format!("What is {left} plus {right}?"),
            format!("Add {left} and {right}."),
            format!("How much is {left} and {right} together?"),
        ]),
        answer: random.choose_wording([
            format!("{} plus {right} is {sum}.", capitalize(&left)),
            format!("The sum is {sum}."),
            format!("{}.", capitalize(&sum)),
        ]),
    }
}

pub(super) fn difference_in_words(random: &mut Random) -> Exchange {
    let (a, b) = (random.between(2, 50), random.between(2, 50));
    let (left, right, difference) = (in_words(a + b), in_words(a), in_words(b));
    Exchange {
        question: random.choose_any([
            format!("What is {left} minus {right}?"),
            format!("Take {right} away from {left}."),
            format!("How much more is {left} than {right}?"),
        ]),
        answer: random.choose_wording([
            format!("{} minus {right} is {difference}.", capitalize(&left)),
            format!("The difference is {difference}."),
            format!("{}.", capitalize(&difference)),
        ]),
    }
}

pub(super) fn product_and_sum(random: &mut Random) -> Exchange {
    let (a, b, c) = (random.between(2, 9), random.between(2, 9), random.between(1, 20));
    let (product, result) = (a * b, a * b + c);
    Exchange {
        question: random.choose_any([
            format!("What is {a} times {b} plus {c}?"),
            format!("Multiply {a} by {b}, then add {c}."),
        ]),
        answer: random.choose_wording([
            format!("{a} x {b} = {product}, and {product} + {c} = {result}."),
            format!("First {product}, then {result}."),
            format!("The result is {result}."),
        ]),
    }
}

pub(super) fn steps(random: &mut Random) -> Exchange {
    let start = random.between(2, 15);
    let mut number = start;
    let mut orders = Vec::new();
    let mut stages = Vec::new();
    for _ in 0..2 {
        let before = number;
        let by = random.between(2, 9);
        match random.below(3) {
            0 => {
                number += by;
                orders.push(format!("add {by}"));
                stages.push(format!("{before} + {by} = {number}"));
            }
            1 if number > by => {
                number -= by;
                orders.push(format!("subtract {by}"));
                stages.push(format!("{before} - {by} = {number}"));
            }
            _ => {
                number *= 2;
                orders.push("double it".to_owned());
                stages.push(format!("{before} x 2 = {number}"));
            }
        }
    }
    let (orders, stages) = (orders.join(", then "), stages.join(", "));
    Exchange {
        question: random
            .choose_any([format!("Start with {start}, {orders}."), format!("Take {start}, {orders}.")]),
        answer: random.choose_wording([
            format!("{stages}."),
            format!("{stages}, so {number}."),
            format!("You get {number}."),
        ]),
    }
}

pub(super) fn sequence(random: &mut Random) -> Exchange {
    let (start, step) = (random.between(1, 30), random.between(2, 12));
    let falling = random.below(3) == 0;
    let at = |index: i64| if falling { start + step * (4 - index) } else { start + step * index };
    let shown = format!("{}, {}, {}, {}", at(0), at(1), at(2), at(3));
    let verb = if falling { "subtracts" } else { "adds" };
    Exchange {
        question: random.choose_any([
            format!("What comes next: {shown}?"),
            format!("Continue: {shown}."),
            format!("Which number follows {shown}?"),
        ]),
        answer: random.choose_wording([
            format!("Each step {verb} {step}, so {} comes next.", at(4)),
            format!("{}, because each step {verb} {step}.", at(4)),
            format!("{}.", at(4)),
        ]),
    }
}

pub(super) fn comparison(random: &mut Random) -> Exchange {
    let a = random.between(10, 999);
    let b = if random.below(2) == 0 { a + random.between(1, 30) } else { random.between(10, 999) };
    let b = if a == b { a + 9 } else { b };
    let (a, b) = if random.below(2) == 0 { (a, b) } else { (b, a) };
    let larger = random.below(2) == 0;
    let word = if larger { "larger" } else { "smaller" };
    let (this, other) = if larger == (a > b) { (a, b) } else { (b, a) };
    Exchange {
        question: random.choose_any([
            format!("Which is {word}, {a} or {b}?"),
            format!("Is {a} or {b} the {word} number?"),
        ]),
        answer: random.choose_wording([
            format!("{this} is {word} than {other}."),
            format!("{this} is {word}."),
            format!("{this}."),
        ]),
    }
}

pub(super) fn parity(random: &mut Random) -> Exchange {
    let number = random.between(10, 999);
    let word = if number % 2 == 0 { "even" } else { "odd" };
    let digit = number % 10;
    Exchange {
        question: random.choose_any([
            format!("Is {number} even or odd?"),
            format!("Is {number} odd or even?"),
            format!("Even or odd: {number}?"),
        ]),
        answer: random.choose_wording([
            format!("{number} is {word}."),
            format!("It ends in {digit}, so it is {word}."),
            format!("{}.", capitalize(word)),
        ]),
    }
}

pub(super) fn change(random: &mut Random) -> Exchange {
    const THINGS: [&str; 8] = ["pen", "book", "cup", "lamp", "hat", "ball", "key", "map"];
    let thing = random.pick(&THINGS);
    let (price, left) = (random.between(3, 60), random.between(1, 39));
    let paid = price + left;
    let coins = if left == 1 { "coin" } else { "coins" };
    Exchange {
        question: random.choose_any([
            format!("A {thing} costs {price} coins. You pay {paid}. What is the change?"),
            format!("You pay {paid} coins for a {thing} at {price}. How many do you get back?"),
        ]),
        answer: random.choose_wording([
            format!("{paid} - {price} = {left}, so {left} {coins}."),
            format!("You get {left} {coins} back."),
            format!("{left} {coins}."),
        ]),
    }
}
