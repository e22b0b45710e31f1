//! Rotation: which indices go, from facts, a policy and the time.
