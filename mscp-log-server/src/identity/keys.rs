//! The life of signing keys, as a pure state machine: what may sign, what
//! verifies, when a key may go. Secrets and the database are elsewhere.
//!
//! A key is `next` (published, so that every replica knows it before the first
//! token it signs), then `active` (signs), then `retired` (verifies until every
//! token that it signed has expired), then deleted. At any time there is one
//! active and one next key. The rule that all this serves: a token that was
//! valid when it was issued stays valid until its `exp` through any sequence
//! of rotations.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A replica's knowledge of the keys is at most this old, in seconds.
pub(super) const REFRESH_S: i64 = 30;

/// A key is `next` at least this long, in seconds: two refreshes, so that one
/// that fails does not leave a replica without the key.
pub(super) const PUBLISHED_S: i64 = 2 * REFRESH_S;

/// How long after the last `exp` a retired key stays, in seconds: the largest
/// leeway a verifier may have.
pub(super) const LINGER_S: i64 = 60;

/// Where in its life a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = StateOfKey)]
pub enum State {
    /// Published and verifies, does not sign yet.
    Next,
    /// Signs and verifies.
    Active,
    /// Verifies what it signed.
    Retired,
}

impl State {
    /// The name in the database and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "next" => Ok(Self::Next),
            "active" => Ok(Self::Active),
            "retired" => Ok(Self::Retired),
            other => Err(format!("expected next, active or retired, found {other}")),
        }
    }
}

/// One key without its secret. Times are seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct KeyState {
    /// The key's id, the `kid` of the tokens it signs.
    pub kid: String,
    /// Where in its life it is.
    pub state: State,
    /// When it was published.
    pub created_s: i64,
    /// When it began to sign.
    pub activated_s: Option<i64>,
    /// When it ceased to sign.
    pub retired_s: Option<i64>,
    /// The latest `exp` of the tokens it signed; 0 when it signed none.
    pub last_exp_s: i64,
}

impl KeyState {
    fn next(kid: String, now_s: i64) -> Self {
        Self {
            kid,
            state: State::Next,
            created_s: now_s,
            activated_s: None,
            retired_s: None,
            last_exp_s: 0,
        }
    }

    fn activate(&mut self, now_s: i64) {
        self.state = State::Active;
        self.activated_s = Some(now_s);
    }
}

/// The next key is too young to sign: some replica may not know it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the next key has not been published for long enough; it may sign in {wait_s} s")]
pub struct NotYet {
    /// Seconds until a rotation can be done.
    pub wait_s: i64,
}

/// All keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ring {
    keys: Vec<KeyState>,
}

impl Ring {
    /// A ring of keys as they were kept.
    #[must_use]
    pub(super) fn new(keys: Vec<KeyState>) -> Self {
        Self { keys }
    }

    /// The first keys ever: nothing was signed, so one may sign at once.
    #[must_use]
    pub(super) fn first(now_s: i64, active: String, next: String) -> Self {
        let mut signing = KeyState::next(active, now_s);
        signing.activate(now_s);
        Self::new(vec![signing, KeyState::next(next, now_s)])
    }

    /// The keys, in no order.
    #[must_use]
    pub(super) fn keys(&self) -> &[KeyState] {
        &self.keys
    }

    /// The key that signs.
    #[must_use]
    pub(super) fn active(&self) -> Option<&KeyState> {
        self.in_state(State::Active)
    }

    /// Whether the active key has signed for `period_s`, and the next one may.
    #[must_use]
    pub(super) fn is_due(&self, now_s: i64, period_s: i64) -> bool {
        let signed_long = self.active().is_none_or(|key| {
            let since = key.activated_s.unwrap_or(key.created_s);
            now_s.saturating_sub(since) >= period_s
        });
        signed_long && self.wait_s(now_s) == 0
    }

    /// The next key signs from now on, the active one retires, and `kid` is published.
    ///
    /// # Errors
    /// When the next key is too young.
    pub(super) fn rotate(&self, now_s: i64, kid: String) -> Result<Self, NotYet> {
        let wait_s = self.wait_s(now_s);
        if wait_s > 0 {
            return Err(NotYet { wait_s });
        }
        Ok(self.step(now_s, kid))
    }

    /// A copy without the key `kid`, whose tokens end here; `new` is published
    /// where one is needed. A revoked active key is replaced by the next one at
    /// once, however young: signing must go on. `None` when there is no such key.
    #[must_use]
    pub(super) fn revoke(&self, kid: &str, now_s: i64, new: [String; 2]) -> Option<Self> {
        let place = self.keys.iter().position(|key| key.kid == kid)?;
        let mut ring = self.clone();
        let gone = ring.keys.remove(place);
        let [first, second] = new;
        match gone.state {
            State::Retired => {}
            State::Next => ring.keys.push(KeyState::next(first, now_s)),
            State::Active => {
                if ring.in_state(State::Next).is_none() {
                    ring.keys.push(KeyState::next(first, now_s));
                }
                ring = ring.step(now_s, second);
            }
        }
        Some(ring)
    }

    /// A copy without the retired keys of which no token is valid any more.
    #[must_use]
    pub(super) fn swept(&self, now_s: i64) -> Self {
        let keep = |key: &&KeyState| {
            key.state != State::Retired || key.last_exp_s.saturating_add(LINGER_S) >= now_s
        };
        Self::new(self.keys.iter().filter(keep).cloned().collect())
    }

    fn step(&self, now_s: i64, kid: String) -> Self {
        let mut ring = self.clone();
        for key in &mut ring.keys {
            match key.state {
                State::Active => {
                    key.state = State::Retired;
                    key.retired_s = Some(now_s);
                }
                State::Next => key.activate(now_s),
                State::Retired => {}
            }
        }
        ring.keys.push(KeyState::next(kid, now_s));
        ring
    }

    fn wait_s(&self, now_s: i64) -> i64 {
        self.in_state(State::Next).map_or(PUBLISHED_S, |next| {
            next.created_s
                .saturating_add(PUBLISHED_S)
                .saturating_sub(now_s)
                .max(0)
        })
    }

    fn in_state(&self, state: State) -> Option<&KeyState> {
        self.keys.iter().find(|key| key.state == state)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    const START: i64 = 1_700_000_000;

    /// What issue does to the row of a key (`extend` in `signing`): only the
    /// active key signs, and it keeps the latest `exp`.
    fn sign(ring: &mut Ring, kid: &str, exp_s: i64) -> bool {
        let active = ring
            .keys
            .iter_mut()
            .find(|key| key.kid == kid && key.state == State::Active);
        match active {
            Some(key) => {
                key.last_exp_s = key.last_exp_s.max(exp_s);
                true
            }
            None => false,
        }
    }
    const REPLICAS: usize = 3;

    #[derive(Clone, Debug)]
    enum Step {
        Wait(i64),
        Issue { replica: usize, ttl_s: i64 },
        Rotate,
        Automatic { period_s: i64 },
        Sweep,
        Refresh(usize),
        RevokeNext,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..200i64).prop_map(Step::Wait),
            1 => (0..400 * 86_400i64).prop_map(Step::Wait),
            6 => (0..REPLICAS, prop_oneof![60..7_200i64, 60..366 * 86_400i64])
                .prop_map(|(replica, ttl_s)| Step::Issue { replica, ttl_s }),
            4 => Just(Step::Rotate),
            2 => (300..86_400i64).prop_map(|period_s| Step::Automatic { period_s }),
            3 => Just(Step::Sweep),
            2 => (0..REPLICAS).prop_map(Step::Refresh),
            1 => Just(Step::RevokeNext),
        ]
    }

    /// One database and replicas that know it as it was up to `REFRESH_S` ago.
    struct World {
        now_s: i64,
        made: u32,
        ring: Ring,
        known: Vec<(i64, Ring)>,
        issued: Vec<(String, i64)>,
    }

    impl World {
        fn new() -> Self {
            let ring = Ring::first(START, "k0".to_owned(), "k1".to_owned());
            Self {
                now_s: START,
                made: 1,
                known: vec![(START, ring.clone()); REPLICAS],
                ring,
                issued: Vec::new(),
            }
        }

        fn kid(&mut self) -> String {
            self.made += 1;
            format!("k{}", self.made)
        }

        fn refresh(&mut self, replica: usize) {
            self.known[replica] = (self.now_s, self.ring.clone());
        }

        fn apply(&mut self, step: &Step) {
            match *step {
                Step::Wait(seconds) => self.now_s += seconds,
                Step::Issue { replica, ttl_s } => {
                    let exp_s = self.now_s + ttl_s;
                    let mut kid = self.known[replica].1.active().unwrap().kid.clone();
                    if !sign(&mut self.ring, &kid, exp_s) {
                        self.refresh(replica);
                        kid = self.known[replica].1.active().unwrap().kid.clone();
                        assert!(sign(&mut self.ring, &kid, exp_s));
                    }
                    self.issued.push((kid, exp_s));
                }
                Step::Rotate => {
                    let kid = self.kid();
                    if let Ok(ring) = self.ring.rotate(self.now_s, kid) {
                        self.ring = ring;
                    }
                }
                Step::Automatic { period_s } => {
                    if self.ring.is_due(self.now_s, period_s) {
                        let kid = self.kid();
                        self.ring = self.ring.rotate(self.now_s, kid).unwrap();
                    }
                }
                Step::Sweep => self.ring = self.ring.swept(self.now_s),
                Step::Refresh(replica) => self.refresh(replica),
                Step::RevokeNext => {
                    let kid = self.ring.in_state(State::Next).unwrap().kid.clone();
                    let new = [self.kid(), self.kid()];
                    self.ring = self.ring.revoke(&kid, self.now_s, new).unwrap();
                }
            }
            for replica in 0..REPLICAS {
                if self.now_s - self.known[replica].0 > REFRESH_S {
                    self.refresh(replica);
                }
            }
        }

        fn check(&self) {
            let states = |state| {
                self.ring
                    .keys
                    .iter()
                    .filter(|key| key.state == state)
                    .count()
            };
            assert_eq!((states(State::Active), states(State::Next)), (1, 1));
            for (kid, exp_s) in &self.issued {
                // Every verifier takes it until exp, and with leeway up to LINGER_S longer.
                if self.now_s < exp_s + LINGER_S {
                    for (_, known) in &self.known {
                        assert!(
                            known.keys.iter().any(|key| key.kid == *kid),
                            "a replica does not know {kid}, whose token ends at {exp_s}, at {}",
                            self.now_s
                        );
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_token_valid_when_issued_stays_valid_until_exp_through_any_rotations(
            steps in prop::collection::vec(step(), 1..120)
        ) {
            let mut world = World::new();
            for step in steps {
                world.apply(&step);
                world.check();
            }
        }

        #[test]
        fn keys_that_nothing_needs_do_not_pile_up(rounds in 1..60usize) {
            let mut world = World::new();
            for _ in 0..rounds {
                world.apply(&Step::Issue { replica: 0, ttl_s: 3_600 });
                world.apply(&Step::Wait(86_400));
                world.apply(&Step::Rotate);
                world.apply(&Step::Sweep);
                prop_assert!(world.ring.keys.len() <= 3);
            }
        }
    }

    #[test]
    fn a_key_too_young_to_be_known_everywhere_does_not_sign() {
        let ring = Ring::first(START, "a".to_owned(), "b".to_owned());
        let early = ring.rotate(START + PUBLISHED_S - 1, "c".to_owned());
        assert_eq!(early, Err(NotYet { wait_s: 1 }));
        let rotated = ring.rotate(START + PUBLISHED_S, "c".to_owned()).unwrap();
        assert_eq!(rotated.active().unwrap().kid, "b");
        assert!(
            !rotated.is_due(START + PUBLISHED_S, 0),
            "c was just published"
        );
    }

    #[test]
    fn revoking_the_active_key_leaves_one_that_signs() {
        let ring = Ring::first(START, "a".to_owned(), "b".to_owned());
        let new = || ["c".to_owned(), "d".to_owned()];
        let revoked = ring.revoke("a", START, new()).unwrap();
        assert_eq!(revoked.active().unwrap().kid, "b");
        assert!(revoked.keys.iter().all(|key| key.kid != "a"));
        assert_eq!(ring.revoke("x", START, new()), None);
    }
}
