-- When rotation last ran in a region, in microseconds since the epoch, by the
-- clock of the node that ran it.

CREATE TABLE rotations (
    region TEXT NOT NULL PRIMARY KEY,
    last_run_us BIGINT NOT NULL
);
