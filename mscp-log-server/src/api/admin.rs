//! Accounts, roles, keys, regions and the audit trail under `base/system`.
