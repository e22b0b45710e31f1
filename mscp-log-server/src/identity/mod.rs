//! Accounts, grants, passwords, signing keys and the audit trail.
