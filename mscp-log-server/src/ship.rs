//! From the buffer into the store; commits follow what is durable there.
