//! Index expressions (`a*,-b,_all`) as a query on `_index`.
//!
//! A restricted search runs over all indices and keeps those that were named by
//! a filter, so that which indices exist, and which of them an expression
//! meets, cannot be told from the answer.

use mscp_log_core::query::ast::{Bool, Clause, Query, Scalar, Term};

use super::Refusal;

/// Names in one expression.
const MAX_NAMES: usize = 256;
/// Changes between names and exclusions.
const MAX_TURNS: usize = 8;

/// What an expression may not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It means indices elsewhere, or that only the store can name.
    Forbidden(Refusal),
    /// It is no expression; the reason is Elasticsearch's.
    Invalid(String),
}

/// The filter of an expression; `None` where it is all indices.
pub(super) fn filter(names: &[String]) -> Result<Option<Query>, Fault> {
    let names: Vec<&str> = names
        .iter()
        .flat_map(|names| names.split(','))
        .filter(|name| !name.is_empty())
        .collect();
    if names.len() > MAX_NAMES {
        return Err(Fault::Invalid(format!(
            "an index expression has at most {MAX_NAMES} names"
        )));
    }
    for name in &names {
        check(name)?;
    }
    let is_all = |name: &str| name == "_all" || name == "*";
    if names.iter().all(|name| is_all(name)) {
        return Ok(None);
    }
    let mut found = Query::of(Clause::MatchNone);
    let (mut has_pattern, mut turns) = (false, 0);
    let mut place = 0;
    while place < names.len() {
        // A minus takes away only from what a pattern before it has met.
        let takes_away = |name: &str, has_pattern: bool| has_pattern && name.starts_with('-');
        let taking = takes_away(names[place], has_pattern);
        let mut run = Vec::new();
        while place < names.len() && takes_away(names[place], has_pattern) == taking {
            let name = if taking {
                &names[place][1..]
            } else {
                names[place]
            };
            has_pattern |= name.contains('*') || name == "_all";
            run.push(one(name));
            place += 1;
        }
        turns += 1;
        if turns > MAX_TURNS {
            return Err(Fault::Invalid(
                "an index expression changes too often between names and exclusions".to_owned(),
            ));
        }
        let before = std::mem::replace(&mut found, Query::of(Clause::MatchNone));
        found = Query::of(Clause::Bool(if taking {
            Bool {
                filter: vec![before],
                must_not: run,
                ..Bool::default()
            }
        } else {
            run.insert(0, before);
            Bool {
                should: run,
                ..Bool::default()
            }
        }));
    }
    Ok(Some(found))
}

fn one(name: &str) -> Query {
    if name == "_all" || name == "*" {
        return Query::of(Clause::MatchAll);
    }
    let term = Term {
        field: "_index".to_owned(),
        value: Scalar::String(name.to_owned()),
        case_insensitive: None,
        rewrite: None,
    };
    Query::of(if name.contains('*') {
        Clause::Wildcard(term)
    } else {
        Clause::Term(term)
    })
}

fn check(name: &str) -> Result<(), Fault> {
    let forbidden = |what: &str| {
        let reason = format!(
            "the index expression [{name}] names {what}, which a restricted token may not do"
        );
        Err(Fault::Forbidden(Refusal::Forbidden(reason)))
    };
    if name.contains(['<', '>', '{', '}']) {
        return forbidden("indices by date math");
    }
    if name.contains(':') {
        return forbidden("indices of another cluster or selector");
    }
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.*+@".contains(&byte);
    let begins_well = !name.starts_with(['_', '+', '.']) || name == "_all";
    if name.len() > 255 || !begins_well || !name.bytes().all(plain) {
        return Err(Fault::Invalid(format!(
            "Invalid index name [{name}], must be lowercase letters, digits and [-_.*], and not begin with [_], [+] or [.]"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use mscp_log_core::query::{Context, wildcard};
    use proptest::prelude::*;

    use super::*;

    /// Expressions by going through them, the plainest way.
    fn plain(names: &[String], index: &str) -> bool {
        let (mut met, mut pattern) = (false, false);
        for name in names {
            if let Some(without) = name.strip_prefix('-').filter(|_| pattern) {
                met &= !wildcard::fits(without, index);
            } else {
                pattern |= name.contains('*');
                met |= wildcard::fits(name, index);
            }
        }
        met
    }

    proptest! {
        #[test]
        fn the_filter_meets_what_the_expression_names(
            names in prop::collection::vec("-?[ab]{0,2}\\*?[ab]{1,2}|\\*", 1..6), index in "-?[ab]{1,4}",
        ) {
            let expected = plain(&names, &index);
            let document = serde_json::json!({});
            let context = Context { index: Some(&index), ..Context::default() };
            let found = filter(&[names.join(",")]).unwrap().is_none_or(|query| query.matches(&document, &context));
            prop_assert_eq!(found, expected, "{:?} {}", names, index);
        }
    }

    #[test]
    fn no_expression_and_all_are_no_filter() {
        for names in ["", "_all", "*", "*,_all"] {
            assert_eq!(filter(&[names.to_owned()]), Ok(None));
        }
    }

    #[test]
    fn an_expression_has_only_so_many_names_and_turns() {
        let names = |count: usize| vec!["a".to_owned(); count].join(",");
        assert!(filter(&[names(MAX_NAMES)]).is_ok());
        let found = filter(&[names(MAX_NAMES + 1)]);
        assert!(matches!(found, Err(Fault::Invalid(_))), "{found:?}");
        let turns = |count: usize| "a*,-a,".repeat(count / 2);
        assert!(filter(&[turns(MAX_TURNS)]).is_ok());
        let found = filter(&[turns(MAX_TURNS + 2)]);
        assert!(matches!(found, Err(Fault::Invalid(_))), "{found:?}");
    }

    #[test]
    fn expressions_that_only_the_store_can_resolve_are_forbidden() {
        for name in [
            "<logstash-{now}>",
            "other:logstash-*",
            "a,*:*",
            "logstash-*::failures",
        ] {
            assert!(
                matches!(filter(&[name.to_owned()]), Err(Fault::Forbidden(_))),
                "{name}"
            );
        }
        for name in [
            ".kibana", "_other", "A", "a b", "a/b", "a%2cb", "+a", "日志",
        ] {
            assert!(
                matches!(filter(&[name.to_owned()]), Err(Fault::Invalid(_))),
                "{name}"
            );
        }
    }
}
