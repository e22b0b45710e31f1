//! How long a sign-in must wait after failures: a delay that grows to a limit,
//! for the address and for the account, and never locks one.
//!
//! An account under attack would be as good as locked if its owner had to
//! compete with the attacker for the one attempt each delay lets through. So
//! an address from which the account was signed in to before has a delay of
//! its own.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;

use lru::LruCache;

/// Most addresses and accounts that are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(16_384).expect("is not zero");

/// Longest e-mail that is remembered as it is; no account has a longer one.
pub(crate) const EMAIL_BYTES: usize = 254;

const SECOND_US: i64 = 1_000_000;

/// How a delay grows.
struct Growth {
    /// Attempts without a delay.
    free: u32,
    /// The longest delay, in microseconds.
    most_us: i64,
}

const FOR_ADDRESS: Growth = Growth {
    free: 20,
    most_us: 60 * SECOND_US,
};
const FOR_ACCOUNT: Growth = Growth {
    free: 5,
    most_us: 30 * SECOND_US,
};

/// Failures are forgotten after this time without another, in microseconds.
const FORGET_US: i64 = 15 * 60 * SECOND_US;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Party {
    Address(IpAddr),
    Account(String),
    AccountFrom(String, IpAddr),
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last_us: i64,
}

/// An attempt that was let through and counts as failed until it succeeds.
#[derive(Debug)]
pub(super) struct Attempt {
    email: String,
    address: IpAddr,
    parties: [Party; 2],
}

/// The failures of late, bounded in number.
#[derive(Debug)]
pub(super) struct Delays {
    failures: LruCache<Party, Failures>,
    /// Where accounts were signed in to from.
    known: LruCache<(String, IpAddr), ()>,
}

impl Delays {
    pub(super) fn new() -> Self {
        Self {
            failures: LruCache::new(REMEMBERED),
            known: LruCache::new(REMEMBERED),
        }
    }

    /// Let an attempt through, or say how long to wait, in microseconds. The
    /// attempt counts as a failure at once, so that many at the same time
    /// cannot pass together.
    pub(super) fn begin(
        &mut self,
        email: &str,
        address: IpAddr,
        now_us: i64,
    ) -> Result<Attempt, i64> {
        let email: String = email.chars().take(EMAIL_BYTES).collect();
        let address = network_of(address);
        let account = if self.known.get(&(email.clone(), address)).is_some() {
            Party::AccountFrom(email.clone(), address)
        } else {
            Party::Account(email.clone())
        };
        let parties = [Party::Address(address), account];
        let wait_us = parties
            .iter()
            .map(|party| self.wait_us(party, now_us))
            .max()
            .unwrap_or_default();
        if wait_us > 0 {
            return Err(wait_us);
        }
        for party in &parties {
            let before = self.failures_of(party, now_us);
            let failures = Failures {
                count: before.saturating_add(1),
                last_us: now_us,
            };
            self.failures.put(party.clone(), failures);
        }
        Ok(Attempt {
            email,
            address,
            parties,
        })
    }

    /// The attempt signed in. The account begins afresh; the address only has
    /// this attempt taken back, since whoever has one account could otherwise
    /// clear the way to guess others'.
    pub(super) fn succeeded(&mut self, attempt: Attempt) {
        let [address, account] = &attempt.parties;
        self.take_back(address);
        self.failures.pop(account);
        self.known.put((attempt.email, attempt.address), ());
    }

    /// The attempt was not decided (the database is away).
    pub(super) fn undecided(&mut self, attempt: &Attempt) {
        for party in &attempt.parties {
            self.take_back(party);
        }
    }

    fn take_back(&mut self, party: &Party) {
        if let Some(failures) = self.failures.get_mut(party) {
            failures.count = failures.count.saturating_sub(1);
        }
    }

    fn failures_of(&mut self, party: &Party, now_us: i64) -> u32 {
        self.failures
            .get(party)
            .filter(|failures| now_us.saturating_sub(failures.last_us) < FORGET_US)
            .map_or(0, |failures| failures.count)
    }

    fn wait_us(&mut self, party: &Party, now_us: i64) -> i64 {
        let growth = match party {
            Party::Address(_) => FOR_ADDRESS,
            Party::Account(_) | Party::AccountFrom(..) => FOR_ACCOUNT,
        };
        let count = self.failures_of(party, now_us);
        if count < growth.free {
            return 0;
        }
        let doublings = (count - growth.free).min(16);
        let delay_us = (SECOND_US << doublings).min(growth.most_us);
        let last_us = self
            .failures
            .peek(party)
            .map_or(now_us, |failures| failures.last_us);
        // A clock that went back must not make anyone wait longer than the delay.
        (last_us.min(now_us) + delay_us - now_us).max(0)
    }
}

/// One IPv6 customer has at least a /64: its addresses are one.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let upper = u128::from(six) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(upper))
        }
        four => four,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn elsewhere(n: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from(0x0a00_0000 + n))
    }

    #[test]
    fn failures_delay_the_account_from_every_address() {
        let mut delays = Delays::new();
        for n in 0..FOR_ACCOUNT.free {
            delays.begin("a@x", elsewhere(n), 0).unwrap();
        }
        assert_eq!(
            delays.begin("a@x", elsewhere(99), 0).unwrap_err(),
            SECOND_US
        );
        assert!(delays.begin("b@x", elsewhere(99), 0).is_ok());
        assert!(delays.begin("a@x", elsewhere(99), SECOND_US).is_ok());
        assert_eq!(
            delays.begin("a@x", elsewhere(99), SECOND_US).unwrap_err(),
            2 * SECOND_US
        );
    }

    #[test]
    fn failures_delay_the_address_for_every_account() {
        let mut delays = Delays::new();
        for n in 0..FOR_ADDRESS.free {
            delays.begin(&format!("{n}@x"), HOME, 0).unwrap();
        }
        assert!(delays.begin("new@x", HOME, 0).is_err());
        assert!(delays.begin("new@x", elsewhere(1), 0).is_ok());
    }

    #[test]
    fn an_attack_from_elsewhere_does_not_delay_where_the_owner_signs_in_from() {
        let mut delays = Delays::new();
        let attempt = delays.begin("a@x", HOME, 0).unwrap();
        delays.succeeded(attempt);
        let mut now_us = 0;
        for n in 0..1_000 {
            if let Err(wait_us) = delays.begin("a@x", elsewhere(n), now_us) {
                now_us += wait_us;
            }
        }
        let _ = delays.begin("a@x", elsewhere(2_000), now_us);
        assert!(delays.begin("a@x", elsewhere(2_001), now_us).is_err());
        assert!(delays.begin("a@x", HOME, now_us).is_ok());
    }

    #[test]
    fn signing_in_to_ones_own_account_does_not_clear_the_address() {
        let mut delays = Delays::new();
        let mut refused = 0;
        for n in 0..200 {
            if delays.begin(&format!("{n}@x"), HOME, 0).is_err() {
                refused += 1;
            }
            if let Ok(own) = delays.begin("own@x", HOME, 0) {
                delays.succeeded(own);
            }
        }
        assert!(refused > 150, "only {refused} were refused");
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one() {
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let other: IpAddr = "2001:db8::ffff:1".parse().unwrap();
        assert_eq!(network_of(one), network_of(other));
        assert_ne!(
            network_of(one),
            network_of("2001:db8:0:1::1".parse().unwrap())
        );
        assert_eq!(network_of("::ffff:192.0.2.1".parse().unwrap()), HOME);
    }

    proptest! {
        #[test]
        fn no_number_of_failures_locks_anyone(
            attempts in prop::collection::vec((0..3u32, 0..3u32, 0..100_000_000i64), 0..200)
        ) {
            let mut delays = Delays::new();
            let mut now_us = 0;
            for (account, address, later_us) in attempts {
                now_us += later_us;
                let _ = delays.begin(&account.to_string(), elsewhere(address), now_us);
            }
            for account in 0..3u32 {
                let wait_us = match delays.begin(&account.to_string(), HOME, now_us) {
                    Ok(_) => 0,
                    Err(wait_us) => {
                        prop_assert!(delays.begin(&account.to_string(), HOME, now_us + wait_us).is_ok());
                        wait_us
                    }
                };
                prop_assert!(wait_us <= FOR_ACCOUNT.most_us);
            }
        }

        #[test]
        fn a_clock_that_goes_back_does_not_lengthen_a_delay(back_us in 0..i64::from(u32::MAX)) {
            let mut delays = Delays::new();
            let now_us = 1_000_000_000_000;
            for _ in 0..30 {
                let _ = delays.begin("a@x", HOME, now_us);
            }
            let wait_us = delays.begin("a@x", HOME, now_us - back_us).unwrap_err();
            prop_assert!(wait_us <= FOR_ADDRESS.most_us);
        }
    }
}
