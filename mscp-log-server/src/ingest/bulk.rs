//! Elasticsearch `_bulk` as senders speak it, under `base/apps/{appid}`.
