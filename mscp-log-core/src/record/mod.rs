//! Records as they are pushed, and the document that is stored.
