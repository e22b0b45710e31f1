-- Accounts, roles, grants, signing keys, what was taken back, and the audit.
-- Written so that SQLite and PostgreSQL both take it: flags are 0 and 1,
-- secrets and JSON are text. Names end in their unit: _s seconds, _us microseconds.

CREATE TABLE accounts (
    id TEXT NOT NULL PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    service BIGINT NOT NULL,
    disabled BIGINT NOT NULL,
    password TEXT,
    grants TEXT NOT NULL,
    max_ttl_s BIGINT NOT NULL,
    created_us BIGINT NOT NULL,
    changed_us BIGINT NOT NULL
);

CREATE TABLE roles (
    name TEXT NOT NULL PRIMARY KEY,
    grants TEXT NOT NULL,
    changed_us BIGINT NOT NULL
);

CREATE TABLE account_roles (
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    role TEXT NOT NULL REFERENCES roles (name) ON DELETE CASCADE,
    PRIMARY KEY (account_id, role)
);

CREATE TABLE service_tokens (
    jti TEXT NOT NULL PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    label TEXT NOT NULL,
    access TEXT NOT NULL,
    kid TEXT NOT NULL,
    issued_s BIGINT NOT NULL,
    exp_s BIGINT NOT NULL
);

CREATE INDEX service_tokens_by_account ON service_tokens (account_id);

-- Tokens that end before their time: of a token (kind 'jti') or of an account
-- that is gone (kind 'account'). Kept until the last of them would have expired.
CREATE TABLE revocations (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    until_s BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
);

CREATE TABLE signing_keys (
    kid TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    secret TEXT NOT NULL,
    created_s BIGINT NOT NULL,
    activated_s BIGINT,
    retired_s BIGINT,
    last_exp_s BIGINT NOT NULL
);

-- The id sorts by time.
CREATE TABLE audit (
    id TEXT NOT NULL PRIMARY KEY,
    at_us BIGINT NOT NULL,
    subject TEXT NOT NULL,
    address TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL
);

CREATE INDEX audit_by_time ON audit (at_us);
