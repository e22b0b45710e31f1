//! From raw records to the buffer: clean, encode, append.
