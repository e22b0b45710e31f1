//! Issue: which rules a token may carry, given what its owner was granted.

use super::base::Base;
use super::method::{Method, Methods};
use super::pattern::Pattern;
use super::rule::{Access, Other, Rule};

/// A wanted entry goes beyond the grants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("access[{entry}]: {what} is not covered by any grant{reason}")]
pub struct NotCovered {
    /// The wanted entry, counted from 0.
    pub entry: usize,
    /// What of it: a method and a pattern as they were written.
    pub what: String,
    /// The rest of the sentence.
    reason: &'static str,
}

impl Access {
    /// The rules of a token for which `wanted` was asked by one who was granted
    /// `grants`. Each wanted pair of method and pattern needs a grant that
    /// contains it; the token gets one rule for each such grant, with what both
    /// allow, so it can do nothing that the grants cannot.
    ///
    /// # Errors
    /// When a pair is in no grant, when no grant shares a value with its
    /// restriction, or when it wants `write` and no such grant has it; `write`
    /// of a grant counts only when the grant has no restriction.
    pub fn cover(grants: &Self, wanted: &Self, base: &Base) -> Result<Self, NotCovered> {
        let mut issued = Vec::new();
        for (entry, rule) in wanted.0.iter().enumerate() {
            issue(grants, rule, base, &mut issued).map_err(|(what, reason)| NotCovered {
                entry,
                what,
                reason,
            })?;
        }
        Ok(Self(issued))
    }

    /// Whether `grants` cover every rule of `self` in full: nothing that it
    /// allows would be lost if it were issued from them. One who gives grants
    /// to another needs this.
    #[must_use]
    pub fn is_within(&self, grants: &Self, base: &Base) -> bool {
        self.0.iter().all(|rule| {
            !rule.matches_nothing()
                && pairs(rule).all(|(method, pattern)| {
                    containing(grants, method, pattern, base).any(|grant| {
                        grant.other.restriction.contains(&rule.other.restriction)
                            && (!rule.other.write || may_write(grant))
                            && carried(&grant.other, &rule.other)
                                .is_some_and(|carried| carried.len() == rule.other.carried.len())
                    })
                })
        })
    }
}

fn issue(
    grants: &Access,
    rule: &Rule,
    base: &Base,
    issued: &mut Vec<Rule>,
) -> Result<(), (String, &'static str)> {
    let written = |method: Method, pattern: &Pattern| format!("{method} {pattern}");
    if rule.methods.is_empty() || rule.urls.is_empty() || rule.matches_nothing() {
        return Err(("the entry".to_owned(), ": it asks for nothing known"));
    }
    let mut own: Vec<Rule> = Vec::new();
    for (method, pattern) in pairs(rule) {
        let mut contained = false;
        let mut shared = false;
        let mut writes = false;
        for grant in containing(grants, method, pattern, base) {
            contained = true;
            let Some(restriction) = grant.other.restriction.intersect(&rule.other.restriction)
            else {
                continue;
            };
            let Some(carried) = carried(&grant.other, &rule.other) else {
                continue;
            };
            shared = true;
            writes |= may_write(grant);
            let mut other = Other::restricted(restriction);
            other.write = rule.other.write && may_write(grant) && other.restriction.is_none();
            other.carried = carried;
            add(&mut own, method, pattern, other);
        }
        if !contained {
            return Err((written(method, pattern), ""));
        }
        if !shared {
            let reason = " with what other holds";
            return Err((written(method, pattern), reason));
        }
        if rule.other.write && !writes {
            return Err((written(method, pattern), " that has write"));
        }
    }
    issued.extend(fold(own));
    Ok(())
}

fn pairs(rule: &Rule) -> impl Iterator<Item = (Method, &Pattern)> {
    let methods = rule.methods;
    rule.urls
        .iter()
        .flat_map(move |url| methods.iter().map(move |method| (method, url)))
}

fn containing<'g>(
    grants: &'g Access,
    method: Method,
    pattern: &'g Pattern,
    base: &'g Base,
) -> impl Iterator<Item = &'g Rule> {
    grants.0.iter().filter(move |grant| {
        !grant.matches_nothing()
            && grant.methods.grant(method)
            && grant.urls.iter().any(|url| url.contains(pattern, base))
    })
}

fn may_write(grant: &Rule) -> bool {
    grant.other.write && grant.other.restriction.is_none()
}

/// The keys of `other` that mean nothing here. Those of the grant stay, as
/// another service may read a limit in them; `None` when the wanted ones say
/// something else under the same name.
fn carried(grant: &Other, wanted: &Other) -> Option<serde_json::Map<String, serde_json::Value>> {
    let mut both = grant.carried.clone();
    for (key, value) in &wanted.carried {
        match both.get(key) {
            Some(granted) if granted != value => return None,
            Some(_) => {}
            None => {
                both.insert(key.clone(), value.clone());
            }
        }
    }
    Some(both)
}

/// Adds a pair to the rule of its pattern that says the same, or as a new one.
fn add(rules: &mut Vec<Rule>, method: Method, pattern: &Pattern, other: Other) {
    let same = rules
        .iter_mut()
        .find(|rule| rule.urls[0] == *pattern && rule.other == other);
    match same {
        Some(rule) => rule.methods.insert(method),
        None => rules.push(Rule::new(
            Methods::from_iter([method]),
            vec![pattern.clone()],
            other,
        )),
    }
}

/// Joins rules of one pattern each that differ in the pattern only.
fn fold(rules: Vec<Rule>) -> Vec<Rule> {
    let mut folded: Vec<Rule> = Vec::new();
    for rule in rules {
        let same = folded
            .iter_mut()
            .find(|other| other.methods == rule.methods && other.other == rule.other);
        match same {
            Some(other) => other.urls.extend(rule.urls),
            None => folded.push(rule),
        }
    }
    folded
}
