//! The one door: canonical path, one token, decision.
