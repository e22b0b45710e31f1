//! Cleaning: a raw record in, a stored document or a reason out.
