//! Requests to a region: what may pass, and restricted to what.
