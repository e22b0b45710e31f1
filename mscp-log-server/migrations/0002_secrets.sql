-- Secrets that all replicas share, by what they are for. The text is as that
-- of a signing key.

CREATE TABLE secrets (
    name TEXT NOT NULL PRIMARY KEY,
    secret TEXT NOT NULL
);
