//! Random texts of `query_string` and `simple_query_string`, grown as trees so
//! that most can be read, and some cut so that they cannot.

use serde_json::{Value, json};

use super::dice::Dice;
use super::queries::{Knows, field, fields, zone};

/// A `query_string`.
pub fn query_string(dice: &mut Dice, knows: Knows) -> Value {
    let mut text = tree(dice, knows, 2);
    if dice.percent(6) {
        let end = dice.below(text.chars().count() + 1);
        text = text.chars().take(end).collect();
    }
    let mut body = json!({ "query": text });
    match dice.below(10) {
        0 => {}
        1..=4 => body["default_field"] = json!("message"),
        5 => body["default_field"] = json!(field(dice, knows)),
        _ => body["fields"] = json!(fields(dice, knows)),
    }
    dice.maybe(30, &mut body, "default_operator", |dice| {
        json!(dice.pick(&["and", "OR"]))
    });
    dice.maybe(40, &mut body, "lenient", |_| json!(true));
    dice.maybe(10, &mut body, "allow_leading_wildcard", |_| json!(false));
    dice.maybe(10, &mut body, "analyze_wildcard", |_| json!(true));
    dice.maybe(10, &mut body, "phrase_slop", |dice| json!(dice.below(3)));
    dice.maybe(10, &mut body, "time_zone", |dice| json!(zone(dice)));
    dice.maybe(10, &mut body, "minimum_should_match", |dice| {
        json!(dice.pick(&["1", "2", "50%"]))
    });
    dice.maybe(5, &mut body, "fuzziness", |dice| {
        json!(dice.pick(&["0", "1", "AUTO"]))
    });
    json!({ "query_string": body })
}

/// A `simple_query_string`, which every text is.
pub fn simple_query_string(dice: &mut Dice, knows: Knows) -> Value {
    let text = if dice.percent(40) {
        tree(dice, knows, 2)
    } else {
        let parts = dice.some(1, 5, |dice| match dice.below(10) {
            0 => "+".to_owned(),
            1 => "|".to_owned(),
            2 => format!("-{}", dice.word()),
            3 => format!("\"{} {}\"~{}", dice.word(), dice.word(), dice.below(3)),
            4 => format!("{}~{}", dice.word(), dice.below(3)),
            5 => format!("{}*", dice.word()),
            6 => format!("({} | {})", dice.word(), dice.word()),
            7 => dice
                .pick(&[
                    "\"", "(", ")", "*", "~", "\\", "-", "--", "a\\", "\"\"", "()",
                ])
                .to_owned(),
            _ => dice.word(),
        });
        // Signs of control are read differently from version to version.
        parts.join(dice.pick(&[" ", " ", ""])).replace('\u{0}', "")
    };
    let mut body = json!({ "query": text });
    match dice.below(10) {
        0 => {}
        1..=5 => body["fields"] = json!(["message"]),
        _ => body["fields"] = json!(fields(dice, knows)),
    }
    dice.maybe(40, &mut body, "default_operator", |dice| {
        json!(dice.pick(&["and", "or"]))
    });
    dice.maybe(15, &mut body, "flags", |dice| {
        json!(dice.pick(&[
            "ALL",
            "NONE",
            "AND|OR",
            "PHRASE|PREFIX",
            "NOT|PRECEDENCE|WHITESPACE"
        ]))
    });
    dice.maybe(30, &mut body, "lenient", |_| json!(true));
    dice.maybe(15, &mut body, "minimum_should_match", |dice| {
        json!(dice.pick(&["1", "2", "-1", "50%"]))
    });
    json!({ "simple_query_string": body })
}

fn tree(dice: &mut Dice, knows: Knows, depth: usize) -> String {
    if depth == 0 || dice.percent(40) {
        return clause(dice, knows, depth);
    }
    let parts = dice.some(2, 4, |dice| tree(dice, knows, depth - 1));
    let mut text = String::new();
    for part in parts {
        if !text.is_empty() {
            text.push_str(dice.pick(&[
                " ",
                " ",
                " AND ",
                " OR ",
                " && ",
                " || ",
                " NOT ",
                " AND NOT ",
                " OR NOT ",
            ]));
        }
        if dice.percent(15) {
            text.push_str(dice.pick(&["+", "-", "!", "NOT "]));
        }
        if dice.percent(30) {
            text.push_str(&format!("({part})"));
        } else {
            text.push_str(&part);
        }
        if dice.percent(4) {
            text.push_str(dice.pick(&["^2", "^0.5"]));
        }
    }
    text
}

/// A word as it must be written to mean itself.
fn escaped(word: &str) -> String {
    let mut text = String::new();
    for character in word.chars() {
        if "+-=&|><!(){}[]^\"~*?:\\/ ".contains(character) {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

fn word(dice: &mut Dice) -> String {
    let word = if dice.percent(70) {
        dice.word()
    } else {
        dice.asked()
    };
    // Signs of control are read differently from version to version.
    let word = word.replace(['\u{0}', '\u{FFFF}'], "");
    if word.is_empty() {
        "a".to_owned()
    } else {
        escaped(&word)
    }
}

fn clause(dice: &mut Dice, knows: Knows, depth: usize) -> String {
    let prefix = if dice.percent(35) {
        format!("{}:", field(dice, knows).replace(':', "\\:"))
    } else {
        String::new()
    };
    let body = match dice.below(20) {
        0 => format!("{}*", word(dice)),
        1 => dice
            .pick(&["err*", "*rr*", "e?ror", "?", "*", "日*", "web-?", "E*R"])
            .to_owned(),
        2 | 3 => format!(
            "\"{} {}\"",
            dice.word().replace(['"', '\\'], ""),
            dice.word().replace(['"', '\\'], "")
        ),
        4 => format!(
            "\"{} {}\"~{}",
            dice.word().replace(['"', '\\'], ""),
            dice.word().replace(['"', '\\'], ""),
            dice.below(4)
        ),
        5 => format!("{}~{}", word(dice), dice.pick(&["", "0", "1", "2"])),
        6 => format!("[{} TO {}]", word(dice), word(dice)),
        7 => format!("{{{} TO *]", word(dice)),
        8 => format!("{}{}", dice.pick(&[">", ">=", "<", "<="]), dice.below(20)),
        9 => dice
            .pick(&["/err.*/", "/[a-c]/", "/web-[0-9]/", "/a|日.*/"])
            .to_owned(),
        10 => {
            return dice
                .pick(&[
                    "*:*",
                    "_exists_:level",
                    "level:*",
                    "seq:[1 TO 5}",
                    "seq:>=3",
                    "@timestamp:[2026-03-28 TO 2026-03-29]",
                    "@timestamp:\"2026-03-29\"",
                    "@timestamp:>now-1d",
                    "namespace:(default OR b)",
                    "n*:a",
                    "level:\"a b\"",
                    "nothing:a",
                    "seq:x",
                ])
                .to_owned();
        }
        11 if depth > 0 => format!("({})", tree(dice, knows, depth - 1)),
        12 => format!("{} {}", word(dice), word(dice)),
        13 => format!("{}^{}", word(dice), dice.pick(&["2", "0.5"])),
        _ => word(dice),
    };
    format!("{prefix}{body}")
}
