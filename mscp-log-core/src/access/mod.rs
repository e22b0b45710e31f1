//! Access rules: methods, URL patterns, restrictions, and the decision.
