//! Index templates for Elasticsearch 6 to 9 and OpenSearch.
