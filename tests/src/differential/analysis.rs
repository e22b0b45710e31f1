//! The project's tokens beside those of a real `standard` analyzer, token by
//! token.

use mscp_log_core::query::analyze::tokens;
use serde_json::{Value, json};

use super::dice::Dice;
use super::side::Side;

/// A token: its text, where it begins and ends, in UTF-16 units, and its type.
pub type Cut = (String, usize, usize, String);

/// Texts that the two cut differently, with both cuts: ours, the engine's.
pub async fn compare(engine: &Side, texts: &[String]) -> Vec<(String, Vec<Cut>, Vec<Cut>)> {
    let mut found = Vec::new();
    for chunk in texts.chunks(500) {
        let cuts = engines(engine, chunk).await;
        for (text, theirs) in chunk.iter().zip(cuts) {
            let own = ours(text);
            if own != theirs {
                found.push((text.clone(), own, theirs));
            }
        }
    }
    found
}

/// Every character alone and between letters, digits and ideographs, many of
/// the scripts of `dice`, and signs of all kinds in any order.
#[must_use]
pub fn texts(dice: &mut Dice, count: usize) -> Vec<String> {
    const SIGNS: &[&str] = &[
        "a",
        "Z",
        "é",
        "1",
        "９",
        "_",
        "'",
        "\u{2019}",
        ".",
        ",",
        ":",
        ";",
        "-",
        "/",
        " ",
        "日",
        "か",
        "カ",
        "ー",
        "한",
        "ก",
        "\u{E49}",
        "א",
        "\"",
        "\u{5F3}",
        "ع",
        "\u{301}",
        "\u{AD}",
        "\u{200D}",
        "\u{200B}",
        "\u{FE0F}",
        "\u{20E3}",
        "😀",
        "👩",
        "🏽",
        "🇩",
        "🇪",
        "☎",
        "©",
        "#",
        "*",
        "\u{FEFF}",
        "\r\n",
        "Ⅷ",
        "①",
        "ﬁ",
        "𝒳",
        "\u{E0067}",
        "\u{180E}",
        "\u{B7}",
        "\u{387}",
        "\u{66B}",
        "\u{FF0E}",
        "\u{FE50}",
    ];
    (0..count)
        .map(|_| match dice.below(3) {
            0 => dice.text(),
            1 => dice.some(1, 12, |dice| dice.pick(SIGNS)).concat(),
            _ => {
                let letters = dice.some(1, 8, |dice| {
                    loop {
                        let code = u32::try_from(dice.below(0x2_0000)).unwrap_or_default();
                        if let Some(character) = char::from_u32(code) {
                            break character;
                        }
                    }
                });
                letters.into_iter().collect()
            }
        })
        .collect()
}

fn ours(text: &str) -> Vec<Cut> {
    let units = |end: usize| text[..end].encode_utf16().count();
    tokens(text)
        .map(|token| {
            (
                token.text.clone().into_owned(),
                units(token.start),
                units(token.end),
                token.kind.name().to_owned(),
            )
        })
        .collect()
}

/// The cuts of several texts by one request: as an array of texts, between
/// which the engine leaves a gap of positions and one unit.
async fn engines(engine: &Side, texts: &[String]) -> Vec<Vec<Cut>> {
    let answer = engine
        .analyze(&json!({ "analyzer": "standard", "text": texts }))
        .await;
    let empty = Vec::new();
    let all = answer.body["tokens"].as_array().unwrap_or(&empty);
    let place =
        |value: &Value| usize::try_from(value.as_u64().unwrap_or_default()).unwrap_or_default();
    let mut start = 0;
    let mut rest = all.iter().peekable();
    texts
        .iter()
        .map(|text| {
            let end = start + text.encode_utf16().count();
            let mut cuts = Vec::new();
            while let Some(token) = rest.next_if(|token| place(&token["start_offset"]) < end) {
                let word = token["token"].as_str().unwrap_or_default().to_owned();
                cuts.push((
                    word,
                    place(&token["start_offset"]) - start,
                    place(&token["end_offset"]) - start,
                    token["type"].as_str().unwrap_or_default().to_owned(),
                ));
            }
            start = end + 1;
            cuts
        })
        .collect()
}
