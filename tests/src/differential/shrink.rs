//! Makes a disagreement small: fewer documents, fewer fields, a smaller body,
//! as long as the stores part for the same reason.

use serde_json::Value;

use super::requests::{Body, places};
use super::{Bench, Case};

/// How often a smaller case is tried.
const TRIES: usize = 150;

/// The smallest case that was found with a difference of that class.
pub async fn shrink(bench: &Bench<'_>, mut case: Case, class: &str) -> Case {
    let mut left = TRIES;
    loop {
        let before = case.clone();
        case = smaller_body(bench, case, class, &mut left).await;
        case = fewer_documents(bench, case, class, &mut left).await;
        case = smaller_documents(bench, case, class, &mut left).await;
        if case == before || left == 0 {
            return case;
        }
    }
}

async fn parts(bench: &Bench<'_>, case: &Case, class: &str, left: &mut usize) -> bool {
    if *left == 0 {
        return false;
    }
    *left -= 1;
    bench
        .difference_of(case)
        .await
        .is_some_and(|found| found.class() == class)
}

async fn smaller_body(bench: &Bench<'_>, mut case: Case, class: &str, left: &mut usize) -> Case {
    bench.fill(&case).await;
    'again: loop {
        for place in 0..case.request.parameters.len() {
            let mut smaller = case.clone();
            smaller.request.parameters.remove(place);
            if *left > 0 && asked(bench, &smaller, class, left).await {
                case = smaller;
                continue 'again;
            }
        }
        let Body::Json(body) = &case.request.body else {
            return case;
        };
        for body in smaller_values(body) {
            let mut smaller = case.clone();
            smaller.request.body = Body::Json(body);
            if *left == 0 {
                return case;
            }
            if asked(bench, &smaller, class, left).await {
                case = smaller;
                continue 'again;
            }
        }
        return case;
    }
}

/// Whether the stores part over what they already hold.
async fn asked(bench: &Bench<'_>, case: &Case, class: &str, left: &mut usize) -> bool {
    *left -= 1;
    bench
        .ask(&case.request)
        .await
        .is_some_and(|found| found.class() == class)
}

/// Every value that is `body` with one part less, the largest parts first.
fn smaller_values(body: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    for place in places(body) {
        let Some((parent, name)) = place.rsplit_once('/') else {
            continue;
        };
        let mut without = body.clone();
        match without.pointer_mut(parent) {
            Some(Value::Object(members)) => {
                members.remove(&name.replace("~1", "/").replace("~0", "~"));
            }
            Some(Value::Array(values)) => {
                if let Ok(place) = name.parse::<usize>() {
                    values.remove(place);
                }
            }
            _ => {}
        }
        found.push(without);
        // A query in place of the one around it, one of a list in place of the list.
        let inner: Vec<Value> = match body.pointer(&place) {
            Some(Value::Array(values)) if values.len() == 1 => values.clone(),
            Some(Value::Object(members)) => {
                let below = members.values().flat_map(|settings| match settings {
                    Value::Object(settings) => settings.values().cloned().collect(),
                    Value::Array(values) => values.clone(),
                    _ => Vec::new(),
                });
                below
                    .flat_map(|value| match value {
                        Value::Array(values) => values,
                        value => vec![value],
                    })
                    .filter(Value::is_object)
                    .collect()
            }
            Some(Value::String(text)) if text.chars().nth(1).is_some() => halves(text),
            _ => Vec::new(),
        };
        for inner in inner {
            let mut replaced = body.clone();
            if let Some(value) = replaced.pointer_mut(&place) {
                *value = inner;
            }
            found.push(replaced);
        }
    }
    found
}

/// A text without its end, its beginning, each of its words.
fn halves(text: &str) -> Vec<Value> {
    let characters: Vec<char> = text.chars().collect();
    let half = characters.len() / 2;
    let mut found = vec![
        characters[..half].iter().collect::<String>(),
        characters[half..].iter().collect(),
    ];
    let words: Vec<&str> = text.split(' ').collect();
    if words.len() > 1 {
        for place in 0..words.len() {
            let mut words = words.clone();
            words.remove(place);
            found.push(words.join(" "));
        }
    }
    if !characters.is_empty() && characters.len() <= 12 {
        found.push(characters[1..].iter().collect());
        found.push(characters[..characters.len() - 1].iter().collect());
    }
    found.into_iter().map(Value::String).collect()
}

async fn fewer_documents(bench: &Bench<'_>, mut case: Case, class: &str, left: &mut usize) -> Case {
    let mut width = case.documents.len();
    while width > 0 {
        let mut start = 0;
        while start < case.documents.len() {
            let end = (start + width).min(case.documents.len());
            let mut smaller = case.clone();
            smaller.documents.drain(start..end);
            if parts(bench, &smaller, class, left).await {
                case = smaller;
            } else {
                start = end;
            }
        }
        width /= 2;
    }
    case
}

async fn smaller_documents(
    bench: &Bench<'_>,
    mut case: Case,
    class: &str,
    left: &mut usize,
) -> Case {
    if case.documents.len() > 4 {
        return case;
    }
    for place in 0..case.documents.len() {
        let names: Vec<String> = case.documents[place]
            .source
            .as_object()
            .into_iter()
            .flat_map(|source| source.keys().cloned())
            .collect();
        for name in names {
            if name == "event_id" {
                continue;
            }
            let mut smaller = case.clone();
            if let Some(source) = smaller.documents[place].source.as_object_mut() {
                source.remove(&name);
            }
            if parts(bench, &smaller, class, left).await {
                case = smaller;
                continue;
            }
            let shorter = match &case.documents[place].source[&name] {
                Value::String(text) => halves(text),
                Value::Array(values) => values.clone(),
                _ => Vec::new(),
            };
            for value in shorter {
                let mut smaller = case.clone();
                smaller.documents[place].source[&name] = value;
                if parts(bench, &smaller, class, left).await {
                    case = smaller;
                    break;
                }
            }
        }
    }
    case
}
