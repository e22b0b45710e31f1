-- What administrators have changed of the configuration, by region: an object
-- from JSON pointers to values. Absent is revision 0, where the configuration holds.

CREATE TABLE settings (
    region TEXT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    document TEXT NOT NULL,
    changed_us BIGINT NOT NULL,
    changed_by TEXT NOT NULL
);

-- What each running instance last said of itself. seen_us is by the clock of
-- the database.

CREATE TABLE instances (
    region TEXT NOT NULL,
    id TEXT NOT NULL,
    seen_us BIGINT NOT NULL,
    report TEXT NOT NULL,
    PRIMARY KEY (region, id)
);
