//! Names of log volumes (`applog-{service uuid}-endname-{name}`).
