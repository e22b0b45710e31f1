//! Search over partitions: compile, collect, aggregate, answer.
